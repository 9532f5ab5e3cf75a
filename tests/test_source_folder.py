"""A folder of tick files is one source in the order of time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import DataError
from tickarrow.pipeline.source import open_source
from tickarrow.pipeline.source_files import TICK_FILE

SECOND = 10**9
DAY = 1_381_190_400 * SECOND  # 2013-10-08T00:00:00Z, 20:00 of the 7th in New York


def trades(symbol, times, size=1.0):
    rows = [{"ts_event": DAY + int(t), "symbol": symbol, "kind": "trade", "price": 10.0 + k, "size": size} for k, t in enumerate(times)]
    return [{name: r.get(name) for name in TICK_FILE.names} for r in rows]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, TICK_FILE), path)


def opened(path, **conf):
    return open_source(SourceConf(kind="parquet", path=str(path), **conf), UniverseConf())


def columns(source):
    blocks = list(source.blocks())
    return {name: np.concatenate([getattr(b, name) for b in blocks]) for name in blocks[0].columns()}


@pytest.mark.parametrize("n", [5, 20_000])
def test_files_of_symbols_and_days_are_merged(tmp_path, n):
    rng = np.random.default_rng(3)
    all_rows = []
    for symbol in ("BAC", "IBM", "SPY"):
        for day in range(2):
            rows = trades(symbol, np.sort(rng.integers(day * 10**6, (day + 1) * 10**6, n)))
            write(tmp_path / symbol / f"{day}.parquet", rows)
            all_rows += rows
    got = columns(opened(tmp_path))
    assert (np.diff(got["ts"]) >= 0).all()
    names = np.array(["BAC", "IBM", "SPY"])[got["symbol"]]
    key = lambda r: (r[0], r[1], r[2])  # noqa: E731
    expected = sorted(((r["ts_event"], r["symbol"], r["price"]) for r in all_rows), key=key)
    assert sorted(zip(got["ts"].tolist(), names.tolist(), got["price"].tolist()), key=key) == expected
    for symbol in ("BAC", "IBM", "SPY"):  # the order inside a file stays
        mine = got["price"][names == symbol]
        np.testing.assert_array_equal(mine, [r["price"] for r in all_rows if r["symbol"] == symbol])


def test_symbols_and_a_day_are_chosen_over_all_files(tmp_path):
    write(tmp_path / "a.parquet", trades("BAC", [0, SECOND, 90_000 * SECOND]))
    write(tmp_path / "b.parquet", trades("IBM", [SECOND // 2, 2 * SECOND]) + trades("SPY", [3 * SECOND], size=0.0))
    source = opened(tmp_path, symbols=["IBM", "BAC"], day="2013-10-07")
    assert source.universe.symbols == ["IBM", "BAC"]
    got = columns(source)
    assert ((got["ts"] - DAY) / SECOND).tolist() == [0, 0.5, 1, 2]
    assert got["symbol"].tolist() == [1, 0, 1, 0]
    assert (source.start_ns, source.end_ns) == (DAY, DAY + 2 * SECOND)
    assert source.bad == {}
    source = opened(tmp_path)
    assert len(columns(source)["ts"]) == 5
    assert source.bad == {"trade_size": 1}


def test_what_is_not_in_the_folder_is_one_sentence(tmp_path):
    write(tmp_path / "a.parquet", trades("BAC", [0]))
    for conf, text in (
        ({"symbols": ["BCA"]}, f"source.symbols: {tmp_path} has no symbol 'BCA'. Did you mean BAC?"),
        ({"day": "2014-01-01"}, f"source.day: {tmp_path} has no row of BAC on 2014-01-01. Its files are a.parquet."),
    ):
        with pytest.raises(DataError) as e:
            opened(tmp_path, **conf)
        assert str(e.value) == text
