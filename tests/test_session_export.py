"""The export of a session: seven kinds of rows by hand, the same rows as the recorded tables, and one line in three readers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from naive_wire import frame
from test_wire import mixed

from tickarrow.pipeline import decode_wide, session_export, session_export_files
from tickarrow.pipeline.batch import Chunk
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.schemas import BARS, CONTROL, DEPTH, GREEKS, TICKS, ControlKind, Feed, Flag, Health
from tickarrow.pipeline.session import Session, read_table
from tickarrow.pipeline.session_export import KINDS, export

DAY = 1_700_006_400  # 2023-11-15 00:00 UTC, s
SYMBOLS = ["AAA", "BRK B"]


class Recorded:
    """A session with a decode stage and no models."""

    def __init__(self, directory: Path, symbols: list[str]) -> None:
        self.session = Session(directory)
        self.ticks, self.depth, self.bars, self.greeks = (self.session.table(s, lazy=s is not TICKS) for s in (TICKS, DEPTH, BARS, GREEKS))
        self.control = self.session.table(CONTROL)
        self.decode = Decode(len(symbols), self.ticks, self.depth, self.bars, self.greeks)
        self.journal = Journal(directory, 1 << 16)
        self.session.manifest["universe"] = symbols
        self.number, self.ts = -1, 0

    def apply(self, kind: ControlKind, symbol: int, key: int = 0, value: float = np.nan) -> None:
        event = Control(chunk=self.number % 2**64, ts=self.ts, kind=kind, symbol=symbol, key=key, value=float(value))
        row = self.control.reserve(1)
        for name in CONTROL.names:
            self.control.segment.columns[name][row] = getattr(event, name)
        self.control.commit(1)
        self.decode.apply(event)

    def say(self, ts_s: float, *frames: bytes) -> None:
        data = np.frombuffer(b"".join(frames) + bytes(64), np.uint8)
        self.number += 1
        self.ts = round(ts_s * 1e9)
        chunk = Chunk(data, 0, len(data) - 64, self.ts, self.number)
        self.journal.append(chunk)
        self.decode.step(chunk)

    def close(self) -> None:
        self.journal.close()
        self.session.manifest |= {"chunks": self.number + 1, "requests": {}}
        self.session.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("exported") / "session"
    r = Recorded(directory, SYMBOLS)
    for key, symbol, feed in ((7, 0, Feed.L1), (8, 1, Feed.L1), (9, 1, Feed.TBT_LAST), (10, 0, Feed.DEPTH), (11, 0, Feed.BAR_5S)):
        r.apply(ControlKind.SUBSCRIBE, symbol, key, feed)
    late = frame(1, 6, 8, 67, "50.25", 3, 0)
    r.say(DAY - 0.5, frame(81, 7, "0.01", "9c0001", 3), frame(46, 6, 7, 32, "QK"), frame(1, 6, 7, 1, "10.00", 5, 1), frame(45, 6, 7, 49, "-1"), late[:9])
    r.say(DAY + 1, late, frame(58, 1, 8, 3), frame(4, 2, 8, 10167, "delayed data", ""), frame(4, 2, -1, 2104, "farm is OK", ""), frame(5, "order"))
    r.say(DAY + 2, frame(99, 9, 1, DAY + 2, "50.5", 100, 1, "OVERNIGHT", " O X"), frame(1, 6, 7, 2, "-1", 0, 0), frame(2, 6, 7, 0, "x"))
    r.say(DAY + 3, frame(46, 6, 7, 48, f"10.5;1;{DAY}123;1000;10.25;true"), frame(46, 6, 7, 48, f"10.5;1;{DAY}456;1030;10.26;true"))
    r.apply(ControlKind.UNSUBSCRIBE, 1, 9)
    r.apply(ControlKind.SUBSCRIBE, 1, 12, Feed.TBT_LAST)
    r.apply(ControlKind.HEALTH, -1, value=Health.LOST)
    r.say(DAY + 4, frame(99, 9, 1, DAY + 4, "51", 1, 0, "NYSE", ""), frame(13, 1, 10, 0, "ARCA", 0, 0, "10.02", 50, 1), frame(12, 1, 10, 4, 2, 1, 0, 0))
    r.say(
        DAY + 5, frame(50, 3, 11, DAY, "10", "10.5", "9.5", "10.25", "1200", "10.1", 17),
        frame(21, 7, 12, 0, "0.2", "-2", "1.5", "-1", "0.1", "0.3", "-0.05", "100"), frame(1, 6, 7, 1, "9.99", 4, 0),
    )  # fmt: skip
    r.close()
    return directory


def rows(out: Path, kind: str) -> list[dict]:
    """Rows of a kind without what is null, in the order of `seq` and arrival."""
    table = pq.read_table(out / kind).to_pandas().sort_values(["seq" if kind != "messages" else "ordinal", "ts"], kind="stable")
    said = []
    for row in table.to_dict("records"):
        kept = {k: v for k, v in row.items() if not pd.isna(v)}
        said.append(kept | {"ts": round(kept["ts"].timestamp() - DAY, 1)})
    return said


@pytest.fixture(scope="module")
def out(recorded, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert sorted(p.name for p in export(recorded, folder)) == sorted(KINDS)
    return folder


def test_trades_have_their_exchange_conditions_and_cumulative_volume(out):
    first, second = rows(out, "trades")
    assert first == {
        "seq": 2, "ts": 2.0, "chunk": 2, "ts_exch": pd.Timestamp(DAY + 2, unit="s", tz="UTC"), "feed": "tbt_last", "flags": Flag.PAST_LIMIT | Flag.DELAYED,
        "price": 50.5, "size": 100.0, "exchange": "OVERNIGHT", "conditions": " O X", "date": "2023-11-15", "symbol": "BRK B",
    }  # fmt: skip
    assert second == {
        "seq": 4, "ts": 3.0, "chunk": 3, "ts_exch": pd.Timestamp(DAY * 1000 + 456, unit="ms", tz="UTC"), "feed": "l1", "flags": Flag.CONFLATED,
        "price": 10.5, "size": 30.0, "cum_volume": 1030.0, "vwap": 10.26, "date": "2023-11-15", "symbol": "AAA",
    }  # fmt: skip


def test_quotes_have_nulls_for_what_is_missing(out):
    f = Flag
    shared = {"feed": "l1", "date": "2023-11-15"}
    assert rows(out, "quotes") == [
        shared | {"seq": 0, "ts": -0.5, "chunk": 0, "flags": f.AUTO_EXECUTE, "bid": 10.0, "bid_size": 5.0, "bid_exchange": "QK", "symbol": "AAA",
                  "date": "2023-11-14"},
        shared | {"seq": 1, "ts": 1.0, "chunk": 1, "flags": f.DELAYED, "ask": 50.25, "ask_size": 3.0, "symbol": "BRK B"},
        shared | {"seq": 3, "ts": 2.0, "chunk": 2, "flags": 0, "bid": 10.0, "bid_size": 5.0, "bid_exchange": "QK", "symbol": "AAA"},
        shared | {
            "seq": 5, "ts": 5.0, "chunk": 5, "flags": f.STALE | f.GAP | f.UNCERTAIN, "bid": 9.99, "bid_size": 4.0, "bid_exchange": "QK", "symbol": "AAA",
        },
    ]  # fmt: skip


def test_depth_bars_and_greeks(out):
    shared = {"date": "2023-11-15", "symbol": "AAA", "seq": 5}
    stale = Flag.STALE
    assert rows(out, "depth") == [
        shared | {"ts": 4.0, "chunk": 4, "flags": stale, "side": "ask", "position": 0, "operation": "insert", "price": 10.02, "size": 50.0,
                  "market_maker": "ARCA", "smart": True},
        shared | {"ts": 4.0, "chunk": 4, "flags": stale | Flag.GAP | Flag.UNCERTAIN, "side": "bid", "position": 4, "operation": "delete", "smart": False},
    ]  # fmt: skip
    begin = pd.Timestamp(DAY, unit="s", tz="UTC")
    assert rows(out, "bars") == [shared | {
        "ts": 5.0, "chunk": 5, "flags": stale | Flag.UNCERTAIN, "ts_open": begin, "ts_close": begin + pd.Timedelta(seconds=5), "kind": "rt5s", "open": 10.0,
        "high": 10.5, "low": 9.5, "close": 10.25, "volume": 1200.0, "wap": 10.1, "count": 17,
    }]  # fmt: skip
    assert rows(out, "greeks") == [shared | {
        "ts": 5.0, "chunk": 5, "flags": stale | Flag.UNCERTAIN, "kind": "last", "price_based": False, "iv": 0.2, "gamma": 0.1, "vega": 0.3, "theta": -0.05,
        "opt_price": 1.5, "und_price": 100.0,
    }]  # fmt: skip


def test_control_has_events_errors_and_notices_with_their_request(out):
    said = [(r["seq"], r["chunk"], r["kind"], r.get("code"), r.get("req"), r.get("gen"), r.get("symbol"), r.get("text")) for r in rows(out, "control")]
    assert set(said[:5]) == {
        (0, -1, "subscribe", None, 7, 1, "AAA", "l1"), (0, -1, "subscribe", None, 10, 1, "AAA", "depth"), (0, -1, "subscribe", None, 11, 1, "AAA", "bar_5s"),
        (0, -1, "subscribe", None, 8, 1, "BRK B", "l1"), (0, -1, "subscribe", None, 9, 1, "BRK B", "tbt_last"),
    }  # fmt: skip
    assert set(said[5:]) == {
        (0, 0, "tick_req_params", None, 7, 1, "AAA", "0.01|9c0001|3"), (1, 1, "market_data_type", 3, 8, 1, "BRK B", None),
        (1, 1, "error", 10167, 8, 1, "BRK B", "delayed data"), (1, 1, "error", 2104, -1, None, None, "farm is OK"),
        (5, 3, "unsubscribe", None, 9, 1, "BRK B", None), (5, 3, "subscribe", None, 12, 2, "BRK B", "tbt_last"),
        (5, 3, "health", None, None, None, None, "lost"),
    }  # fmt: skip
    health = [r for r in rows(out, "control") if r["kind"] == "health"]
    assert health[0]["value"] == Health.LOST


def test_messages_are_every_frame_of_the_session_s_requests(out):
    said = rows(out, "messages")
    assert [(r["chunk"], r["id"], r["outcome"]) for r in said] == [
        (0, 46, "decoded"), (0, 1, "decoded"), (0, 45, "decoded"), (1, 1, "decoded"), (1, 58, "decoded"), (2, 99, "decoded"), (2, 1, "decoded"), (2, 2, "bad"),
        (3, 46, "decoded"), (3, 46, "decoded"), (4, 99, "late"), (4, 13, "decoded"), (4, 12, "decoded"), (5, 50, "decoded"),
        (5, 21, "decoded"), (5, 1, "decoded"),
    ]  # fmt: skip
    assert said[2]["value"] == -1.0
    assert (said[3]["tick_type"], said[3]["delayed"], said[3]["feed"], said[3]["symbol"]) == (2, True, "l1", "BRK B")
    assert said[6].keys().isdisjoint({"price", "size"})
    assert (said[5]["exchange"], said[5]["conditions"], said[9]["vwap"], said[9]["volume"]) == ("OVERNIGHT", " O X", 10.26, 1030.0)


def test_types_are_as_in_the_schemas(out):
    for kind in KINDS:
        path = next((out / kind).rglob("*.parquet"))
        schema = pq.ParquetFile(path).schema_arrow
        assert schema.names == session_export.SCHEMAS[kind].names
        for got, want in zip(schema, session_export.SCHEMAS[kind]):
            assert got.type == want.type or pa.types.is_dictionary(got.type) == pa.types.is_dictionary(want.type), (kind, got)
            assert got.metadata == want.metadata or want.metadata is None, (kind, got)
        assert "ZSTD" in {pq.ParquetFile(path).metadata.row_group(0).column(k).compression for k in range(len(schema))}
        assert schema.field("ts").type == pa.timestamp("ns", "UTC")


def test_pandas_polars_and_duckdb_read_a_kind_in_one_line(out):
    a = pd.read_parquet(out / "trades")
    b = pl.scan_parquet(out / "trades", hive_partitioning=True).collect()
    c = duckdb.sql(f"select * from '{out}/trades/**/*.parquet'").pl()
    assert len(a) == len(b) == len(c) == 2
    assert set(a.columns) == set(b.columns) == set(c.columns)
    for symbols in (a["symbol"], b["symbol"].to_list(), c["symbol"].to_list()):
        assert sorted(symbols) == SYMBOLS
    for kind in KINDS:
        n = len(pd.read_parquet(out / kind))
        assert n == pl.scan_parquet(out / kind, hive_partitioning=True).collect().height
        assert duckdb.sql(f"select count(*), count(distinct date) from '{out}/{kind}/**/*.parquet'").fetchall()[0][0] == n


@pytest.mark.parametrize("small", [False, True])
def test_the_rows_are_the_recorded_ones_in_any_size_of_blocks(tmp_path, monkeypatch, small):
    if small:
        monkeypatch.setattr(decode_wide, "RECORDS", 300)
        monkeypatch.setattr(session_export, "BUFFER", 4_000)
        monkeypatch.setattr(session_export_files, "GATHERED", 500)
        monkeypatch.setattr(session_export_files, "OPEN_FILES", 3)
    symbols = [f"S{i}" for i in range(20)]
    r = Recorded(tmp_path / "session", symbols)
    for i in range(100):
        r.apply(ControlKind.SUBSCRIBE, i % 20, i, Feed.TBT_ALL if i % 3 == 0 else Feed.L1)
    frames = mixed(4_000, seed=4)
    cuts = [0, 1, 5, 700, 1500, 1501, 2222, 3999, 4000]
    for k, (a, b) in enumerate(pairwise(cuts)):
        r.say(DAY + k, *frames[a:b])
        if k == 3:
            r.apply(ControlKind.RESYNC, 0, value=99)
    r.close()
    export(tmp_path / "session", tmp_path / "out", ["quotes", "trades"])
    ticks = read_table(tmp_path / "session", "ticks").to_pandas()
    assert len(ticks) > 1_000
    for kind, code, columns in (("quotes", 0, ["bid", "bid_size", "ask", "ask_size"]), ("trades", 1, ["price", "size"])):
        got = pq.read_table(tmp_path / "out" / kind).to_pandas().sort_values("seq")
        want = ticks[ticks["kind"] == code]
        for name in ("seq", "chunk", "flags", *columns):
            np.testing.assert_array_equal(got[name].to_numpy(), want[name].to_numpy(), err_msg=name)
        assert list(got["symbol"]) == [symbols[i] for i in want["symbol"]]
        assert list(got["ts"].astype("int64")) == list(want["ts"])


def test_what_cannot_be_exported_says_why(recorded, out, tmp_path):
    with pytest.raises(ConfigError, match=r"kinds has 'trade', which a session is not exported to\. Did you mean trades\? Kinds: messages, trades, quotes"):
        export(recorded, tmp_path, ["trade"])
    with pytest.raises(DataError, match=r"bars is already there\. Remove it, or choose another folder"):
        export(recorded, out, ["bars"])
    assert not list(tmp_path.iterdir())
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
