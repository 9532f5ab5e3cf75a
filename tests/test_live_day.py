"""benchmarks/live_day.py: 100 symbols out of three, and latencies of a session that really ran."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SMALL

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
live_day = pytest.importorskip("benchmarks.live_day")

OPEN = 1_381_156_200 * 10**9  # 2013-10-07 10:30 in New York


def recorded(path):
    """Two symbols with a quote every second, from ten minutes before the time that is asked for."""
    n = 700
    ts = OPEN + (np.arange(n) - 600) * 10**9
    quote = {"kind": "quote", "price": None, "size": None, "bid_size": 100.0, "ask_size": 100.0, "exchange": None, "conditions": None, "ts_recv": None}
    rows = [quote | {"ts_event": int(t), "symbol": s, "bid": 10.0 + k, "ask": 10.01 + k} for k, t in enumerate(ts) for s in ("A", "B")]
    double = ("price", "size", "bid", "ask", "bid_size", "ask_size")
    schema = pa.schema([("ts_event", pa.int64()), ("ts_recv", pa.int64()), ("symbol", pa.string()), ("kind", pa.string())]
                       + [(name, pa.float64()) for name in double] + [("exchange", pa.string()), ("conditions", pa.string())])  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def test_copies_tick_as_the_recorded_symbol_did_some_time_before(tmp_path):
    recorded(tmp_path / "two.parquet")
    live_day.copies(tmp_path / "two.parquet", tmp_path / "six.parquet", day="2013-10-07", seconds=10.0, symbols=("A", "B"), n=6)
    made = pq.read_table(tmp_path / "six.parquet").to_pandas()
    assert sorted(made.symbol.unique()) == [f"S{k:03d}" for k in range(6)]
    assert made.ts_event.is_monotonic_increasing
    assert made.ts_event.between(OPEN, OPEN + 10 * 10**9 - 1).all()
    fifth = made[made.symbol == "S004"]  # the third copy of A: 22 s before, and 4 x 1.717171 ms later
    assert (fifth.ts_event.iloc[0], fifth.bid.iloc[0]) == (OPEN + 6_868_684, 10.0 + 600 - 22)
    assert made.groupby("symbol").size().eq(10).all()


@pytest.mark.slow
def test_a_session_is_measured_from_both_ends():
    m = live_day.run([*SMALL, "universe.symbols=[A1,A2,A3]", "source.duration_s=4", "features.throttle_ns=0"], "spaced")
    assert m.rows.sum() == m.decisions > 0
    assert len(m.sent) == len(m.arrival) > 0
    assert min(m.sent.min(), m.arrival.min()) > 0
    assert m.cpu >= 0
    assert (m.sent > m.arrival - 1e3).all()  # two clocks of one machine
    assert any("tick_to_decision" in line for line in live_day.lines("spaced", m))
