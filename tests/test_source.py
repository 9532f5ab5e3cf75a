import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tickarrow.configs.source import HaltConf, SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import ConfigError, DataError, TickarrowError
from tickarrow.pipeline.schemas import Kind
from tickarrow.pipeline.source import GeneratedSource, ParquetSource, open_source

SECOND = 10**9
DAY = 1_381_190_400 * SECOND  # 2013-10-08T00:00:00Z, 20:00 of the 7th in New York
UNIVERSE = UniverseConf(symbols=["A", "B", "C"], classes=["large", "small", "etf"])
DATA = Path(os.environ.get("TICKARROW_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

SCHEMA = pa.schema(
    [("ts_event", pa.int64()), ("ts_recv", pa.int64()), ("symbol", pa.string()), ("kind", pa.string())]
    + [(c, pa.float64()) for c in ("price", "size", "bid", "ask", "bid_size", "ask_size")]
    + [("exchange", pa.string()), ("conditions", pa.string())]
)


def quote(ts, bid=None, bid_size=None, ask=None, ask_size=None, symbol="BAC", **more):
    return {"ts_event": ts, "symbol": symbol, "kind": "quote", "bid": bid, "bid_size": bid_size, "ask": ask, "ask_size": ask_size, **more}


def trade(ts, price=None, size=None, symbol="BAC", **more):
    return {"ts_event": ts, "symbol": symbol, "kind": "trade", "price": price, "size": size, **more}


def write(tmp_path, rows, schema=SCHEMA, **how):
    path = tmp_path / "ticks.parquet"
    rows = [{f.name: r.get(f.name) for f in schema} for r in rows]
    pq.write_table(pa.Table.from_pylist(rows, schema), path, **how)
    return path


def parquet(path, **conf):
    return open_source(SourceConf(kind="parquet", path=str(path), **conf), UNIVERSE)


def columns(source):
    blocks = list(source.blocks())
    return {name: np.concatenate([getattr(b, name) for b in blocks]) for name in blocks[0].columns()}


def said(error, call):
    with pytest.raises(error) as e:
        call()
    return str(e.value)


# Generated


def test_a_generated_session_keeps_its_bounds_and_begins_anew():
    source = open_source(SourceConf(duration_s=30.0), UNIVERSE)
    assert source.start_ns == int(datetime(2026, 1, 5, 14, 30, tzinfo=UTC).timestamp()) * SECOND
    assert source.end_ns == source.start_ns + 30 * SECOND
    first, again = columns(source), columns(source)
    assert first["ts"][0] == source.start_ns
    assert first["ts"][-1] < source.end_ns
    assert all(np.array_equal(first[c], again[c], equal_nan=c not in ("ts", "symbol", "kind", "mask")) for c in first)
    assert source.bad == {}
    assert source.universe.symbols == ["A", "B", "C"]


def test_a_duration_between_two_steps_is_exact():
    short, long = (columns(open_source(SourceConf(duration_s=d), UNIVERSE)) for d in (12.34567, 20.0))
    end = open_source(SourceConf(), UNIVERSE).start_ns + 12_345_670_000
    assert short["ts"].tolist() == long["ts"][long["ts"] < end].tolist()


def test_max_rows_cuts_the_session_exactly():
    source = open_source(SourceConf(duration_s=600.0, max_rows=10_001), UNIVERSE)
    blocks = list(source.blocks())
    assert sum(map(len, blocks)) == 10_001
    assert max(map(len, blocks)) <= 8192


def test_the_default_session_of_the_demo_universe_has_the_promised_size():
    names = [c * 3 for c in "ABCDEFGHIJKLMNOP"] + ["QQQQ", "RRR", "SSS", "TTT"]
    demo = UniverseConf(symbols=names, classes=["etf", "small", "large", "small"])
    assert 120_000 <= sum(map(len, open_source(SourceConf(), demo).blocks())) <= 150_000


def test_a_block_stays_as_it_was_when_the_next_one_is_made():
    source = open_source(SourceConf(duration_s=30.0), UNIVERSE)
    kept = next(iter(source.blocks()))
    before = kept.ts.copy()
    columns(source)
    assert (kept.ts == before).all()


@pytest.mark.parametrize(
    ("conf", "text"),
    [
        ({"start": "Monday"}, "source.start is 'Monday', not a time like 2026-01-05T14:30:00Z."),
        (
            {"duration_s": 0.0},
            "source.duration_s is 0 and source.max_rows 150000: a generated session needs a duration above 0 s and at least",
        ),
        ({"max_rows": -1}, "source.duration_s is 420 and source.max_rows -1: a generated session needs a duration above 0 s"),
        ({"duration_s": 23_401.0}, "source.duration_s is 23401 and source.days 1: a session has at most 23400 s and there is at least one."),
        ({"days": 0}, "source.duration_s is 420 and source.days 0: a session has at most 23400 s"),
        (
            {"halts": [HaltConf("A", 400.0, 60.0)]},
            "source.halts: A cannot halt at 400 s for 60 s on day 1. Give whole seconds after second 3 that end by second 418, and a day from 1 to 1.",
        ),
        ({"halts": [HaltConf("A", 10.5, 60.0)]}, "source.halts: A cannot halt at 10.5 s for 60 s on day 1."),
        ({"halts": [HaltConf("Z", 10.0, 60.0)]}, "unknown symbol 'Z'"),
        ({"halts": [HaltConf("A", 10.0, 60.0), HaltConf("A", 30.0, 60.0)]}, "source.halts: two halts of A touch each other."),
        ({"kind": "csv"}, "source.kind is 'csv'. Choose source=generated, source=parquet, source=lean, source=lobster, source=dbn."),
    ],
)
def test_a_wrong_generated_session_is_refused(conf, text):
    assert said(ConfigError, lambda: open_source(SourceConf(**conf), UNIVERSE)).startswith(text)


def test_an_unknown_class_is_refused_at_opening():
    text = said(ConfigError, lambda: GeneratedSource(SourceConf(), replace(UNIVERSE, classes=["giant"])))
    assert text.startswith("universe.classes: the generated market has no class 'giant' (symbol A).")


def test_a_halt_is_where_the_source_says():
    source = open_source(SourceConf(duration_s=60.0, halts=[HaltConf("C", 20.0, 15.0)]), UNIVERSE)
    assert source.halts == [(2, source.start_ns + 20 * SECOND, source.start_ns + 35 * SECOND)]
    got = columns(source)
    mine = {name: column[got["symbol"] == 2] for name, column in got.items()}
    inside = (mine["ts"] >= source.halts[0][1]) & (mine["ts"] < source.halts[0][2])
    assert inside.sum() == 1  # the quote that is taken away
    assert mine["mask"][inside].tolist() == [15]
    assert np.isnan(mine["bid"][inside]).all()
    assert np.isnan(mine["ask"][inside]).all()
    after = np.flatnonzero(mine["ts"] >= source.halts[0][2])
    assert mine["kind"][after[:2]].tolist() == [Kind.TRADE, Kind.QUOTE]


def test_seeded_halts_come_at_their_rate_and_do_not_touch():
    universe = replace(UNIVERSE, symbols=[f"S{i}" for i in range(40)])
    source = open_source(SourceConf(duration_s=23_400.0, halt_rate=0.2), universe)
    assert source.halts == open_source(SourceConf(duration_s=23_400.0, halt_rate=0.2), universe).halts
    assert len(source.halts) == pytest.approx(0.2 * 40 * 6.5, rel=0.5)  # 52 on average
    for row, begin, end in source.halts:
        assert (end - begin) == 300 * SECOND
        assert source.start_ns + 60 * SECOND <= begin < end < source.end_ns
        assert all(r != row or b > end or e < begin for r, b, e in source.halts if (r, b, e) != (row, begin, end))
    assert open_source(SourceConf(duration_s=23_400.0), universe).halts == []


def ends(source):
    """Last row of each day, UTC."""
    ts = np.concatenate([r.ts for r in source.blocks()])
    return [datetime.fromtimestamp(int(ts[a - 1]) / 1e9, UTC) for a in [*np.flatnonzero(np.diff(ts) > 3_600 * 10**9) + 1, len(ts)]]


def test_a_day_of_an_early_close_ends_with_it():
    # the day after Thanksgiving the exchange closes at 13:00, 18:00 UTC; the day itself is no trading day
    conf = SourceConf(start="2026-11-25T17:58:00Z", duration_s=180.0, days=3, max_rows=0, halts=[HaltConf("A", 20.0, 90.0, 2)])
    source = open_source(conf, UNIVERSE)
    assert [f"{t:%d %H:%M}" for t in ends(source)] == ["25 18:00", "27 17:59", "30 18:00"]
    assert source.end_ns == int(datetime(2026, 11, 30, 18, 1, tzinfo=UTC).timestamp()) * 10**9
    ts, kind = (np.concatenate([getattr(r, name) for r in source.blocks()]) for name in ("ts", "kind"))
    close = int(datetime(2026, 11, 27, 18, tzinfo=UTC).timestamp()) * 10**9
    assert np.count_nonzero((ts >= close - 10**9) & (ts < close) & (kind == 1)) > 0  # the auction
    with pytest.raises(ConfigError, match="end by second 118"):
        open_source(replace(conf, halts=[HaltConf("A", 20.0, 100.0, 2)]), UNIVERSE)


def test_a_day_that_closes_before_it_would_begin_is_left_out():
    source = open_source(SourceConf(start="2026-11-25T19:00:00Z", duration_s=5.0, days=3, max_rows=0), UNIVERSE)
    assert [f"{t:%m-%d %H:%M}" for t in ends(source)] == ["11-25 19:00", "11-30 19:00", "12-01 19:00"]


def test_days_are_trading_days_in_new_york():
    # From Thursday 2026-07-02: the 3rd is the holiday for Independence Day, then Monday and Tuesday.
    conf = SourceConf(start="2026-07-02T13:30:00Z", duration_s=8.0, days=3, max_rows=0, halts=[HaltConf("A", 4.0, 1.0, 2)])
    source = open_source(conf, UNIVERSE)
    got = columns(source)
    starts = [int(datetime(2026, 7, d, 13, 30, tzinfo=UTC).timestamp()) * SECOND for d in (2, 6, 7)]
    assert np.unique(got["ts"] // (86_400 * SECOND)).tolist() == [s // (86_400 * SECOND) for s in starts]
    assert (np.diff(got["ts"]) >= 0).all()
    for s in starts:
        day = got["ts"][(got["ts"] >= s) & (got["ts"] < s + 86_400 * SECOND)]
        assert day[0] == s
        assert day[-1] < s + 8 * SECOND
    assert source.end_ns == starts[-1] + 8 * SECOND
    assert source.halts == [(0, starts[1] + 4 * SECOND, starts[1] + 5 * SECOND)]


def test_the_clock_change_keeps_the_open():
    # New York moves its clocks on Sunday 2026-03-08: Monday's 9:30 is an hour earlier in UTC.
    source = open_source(SourceConf(start="2026-03-06T14:30:00Z", duration_s=5.0, days=2), UNIVERSE)
    assert source.end_ns - source.start_ns == (3 * 86_400 - 3600 + 5) * SECOND


# Parquet: the mapping


def test_a_file_by_hand(tmp_path):
    nan = np.nan
    path = write(
        tmp_path,
        [
            quote(DAY + 1, 14.0, 100.0, 14.01, 200.0),
            trade(DAY + 1, 14.01, 50.0),
            quote(DAY + 2, 14.01, 300.0, symbol="IBM"),  # one null side: unchanged
            quote(DAY + 3),  # both null: no quote
            quote(DAY + 4, 0.0, 0.0, 14.02, 10.0),  # the sentinel: no bid
            quote(DAY + 5, -1.0, 0.0, -1.0, 0.0),
            quote(DAY + 6, 14.0, None, 14.02, None),  # no sizes
            quote(DAY + 7, None, 0.0, 14.02, 5.0),  # nothing at the bid
            trade(DAY + 8, None, 7.0),  # at the last price
        ],
    )
    source = parquet(path)
    got = columns(source)
    assert source.universe.symbols == ["BAC", "IBM"]
    assert (source.start_ns, source.end_ns) == (DAY + 1, DAY + 8)
    assert (got["ts"] - DAY).tolist() == [1, 1, 2, 3, 4, 5, 6, 7, 8]
    assert got["symbol"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert got["kind"].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 1]
    assert got["mask"].tolist() == [15, 0, 3, 15, 15, 15, 5, 15, 0]
    np.testing.assert_array_equal(got["bid"], [14.0, nan, 14.01, nan, nan, nan, 14.0, nan, nan])
    np.testing.assert_array_equal(got["bid_size"], [100, nan, 300, nan, nan, nan, nan, nan, nan])
    np.testing.assert_array_equal(got["ask"], [14.01, nan, nan, nan, 14.02, nan, 14.02, 14.02, nan])
    np.testing.assert_array_equal(got["ask_size"], [200, nan, nan, nan, 10, nan, nan, 5, nan])
    np.testing.assert_array_equal(got["price"], [nan, 14.01, nan, nan, nan, nan, nan, nan, nan])
    np.testing.assert_array_equal(got["size"], [nan, 50, nan, nan, nan, nan, nan, nan, 7])
    assert source.bad == {}
    assert [column.dtype.str[1:] for column in got.values()] == ["i8", "i4", "u1", "u1"] + ["f8"] * 6


@pytest.mark.parametrize("narrow", [pa.float32(), pa.float16()])
def test_a_narrow_float_is_the_decimal_that_it_stands_for(tmp_path, narrow):
    fields = [pa.field(f.name, narrow) if f.name in ("bid", "ask") else f for f in SCHEMA]
    prices = [14.26, 0.25, 103.5, None, float("nan"), -1.0] if narrow == pa.float32() else [14.5, 0.25, 103.5, None, float("nan"), -1.0]
    path = write(tmp_path, [quote(DAY + i, p, 0.0, 200.0, 5.0) for i, p in enumerate(prices)], pa.schema(fields))
    got = columns(parquet(path))
    np.testing.assert_array_equal(got["bid"], [*prices[:3], np.nan, np.nan, np.nan])
    assert (got["ask"] == 200.0).all()


def test_rows_that_mean_nothing_are_left_out_and_counted(tmp_path):
    good = quote(DAY, 14.0, 1.0, 14.01, 1.0)
    bad = {
        "trade_size": [trade(DAY, 14.0, 0.0), trade(DAY, 14.0, None), trade(DAY, 14.0, -5.0), trade(DAY, 14.0, float("nan"))],
        "trade_price": [trade(DAY, 0.0, 10.0), trade(DAY, float("inf"), 10.0)],
        "quote_price": [quote(DAY, 14.0, 1.0, 0.0, 0.5), quote(DAY, -2.0, 1.0, 14.0, 1.0)],
        "quote_size": [quote(DAY, 14.0, -1.0, 14.01, 1.0)],
        "unknown_kind": [{**good, "kind": "auction"}, {**good, "kind": None}],
        "no_symbol": [{**good, "symbol": None}],
        "no_time": [{**good, "ts_event": None}],
    }
    path = write(tmp_path, [good, *(r for rows in bad.values() for r in rows), trade(DAY + 1, 14.0, 1.0)])
    source = parquet(path)
    for _ in range(2):  # counted anew by each reading
        assert columns(source)["ts"].tolist() == [DAY, DAY + 1]
        assert source.bad == {reason: len(rows) for reason, rows in bad.items()}


def test_the_received_time_orders_the_rows_where_there_is_one(tmp_path):
    path = write(tmp_path, [quote(DAY + 9, 1.0, 1.0, 2.0, 1.0, ts_recv=DAY + 10), trade(DAY + 3, 1.0, 1.0, ts_recv=DAY + 11)])
    assert columns(parquet(path))["ts"].tolist() == [DAY + 10, DAY + 11]


def test_symbols_and_day_select_rows_across_row_groups(tmp_path):
    rows = [quote(DAY + k * 3600 * SECOND, 1.0, k + 1.0, 2.0, 1.0, symbol="ABC"[k % 3]) for k in range(60)]
    path = write(tmp_path, rows, row_group_size=7)
    source = parquet(path, symbols=["C", "A"], day="2013-10-08")
    got = columns(source)
    # 2013-10-08 in New York is 04:00Z to 04:00Z: rows 4 to 27.
    expected = [k for k in range(4, 28) if k % 3 != 1]
    assert (got["bid_size"] - 1).tolist() == expected
    assert source.universe.symbols == ["C", "A"]
    assert got["symbol"].tolist() == [0 if k % 3 == 2 else 1 for k in expected]
    assert (source.start_ns, source.end_ns) == (rows[5]["ts_event"], rows[27]["ts_event"])
    assert columns(parquet(path, day="2013-10-08", timezone="UTC"))["bid_size"].tolist() == [k + 1.0 for k in range(24)]


def test_blocks_are_at_most_8192_rows(tmp_path):
    n = 20_000
    table = pa.table(
        {"ts_event": np.arange(n) + DAY, "symbol": ["BAC"] * n, "kind": ["trade"] * n}
        | {c: np.arange(1.0, n + 1) for c in ("price", "size", "bid", "ask", "bid_size", "ask_size")}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    source = parquet(tmp_path / "t.parquet", tick_size=0.05)
    assert [len(b) for b in source.blocks()] == [8192, 8192, 3616]
    assert columns(source)["size"].tolist() == list(range(1, n + 1))
    assert source.universe.instruments[0].tick_size == 0.05


# Parquet: errors


def test_a_path_that_is_no_file_of_ticks_is_one_sentence(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not Parquet at all")
    assert said(ConfigError, lambda: parquet("")) == "source.path is not set. Name the Parquet file of ticks: source.path=FILE."
    assert said(DataError, lambda: parquet("no.parquet")) == "source.path: no.parquet does not exist. Name a Parquet file of ticks."
    assert said(DataError, lambda: parquet(tmp_path)) == f"source.path: {tmp_path} holds no Parquet file. Name a file of ticks or the folder of such files."
    assert said(DataError, lambda: parquet(text)).startswith(f"{text} cannot be read as a Parquet file: ")


def test_a_damaged_file_is_one_sentence(tmp_path):
    path = write(tmp_path, [quote(DAY + k, 1.0 + k % 7, 1.0, 9.0, 1.0) for k in range(5000)])
    data = bytearray(path.read_bytes())
    data[100:2000] = os.urandom(1900)
    path.write_bytes(bytes(data))
    text = said(TickarrowError, lambda: columns(parquet(path)))
    assert "\n" not in text
    assert str(path) in text


def test_a_missing_column_is_named_with_what_was_expected(tmp_path):
    path = write(tmp_path, [quote(DAY, 1.0, 1.0, 2.0, 1.0)], pa.schema([f for f in SCHEMA if f.name != "ask_size"]))
    assert said(DataError, lambda: parquet(path)) == (
        f"{path} has no column 'ask_size'. A tick table has the columns ts_event and ts_recv (optional): int64 ns UTC or timestamp; "
        "symbol: string; kind: 'trade' or 'quote'; bid, bid_size, ask, ask_size, price, size: numbers."
    )


def test_a_column_of_another_type_is_named(tmp_path):
    schema = pa.schema([f if f.name != "ts_event" else pa.field("ts_event", pa.float64()) for f in SCHEMA])
    path = write(tmp_path, [quote(1.0, 1.0, 1.0, 2.0, 1.0)], schema)
    assert said(DataError, lambda: parquet(path)).startswith(f"{path}: column 'ts_event' is double. A tick table has the columns ts_event")


def test_time_out_of_order_names_the_row_and_both_times(tmp_path):
    times = [DAY, DAY + 2 * SECOND, DAY + SECOND + 5]
    path = write(tmp_path, [quote(t, 1.0, 1.0, 2.0, 1.0) for t in times], row_group_size=2)
    assert said(DataError, lambda: parquet(path)) == (
        f"{path}: time out of order at row 2 (counted from 0): ts_event is 2013-10-08T00:00:01.000000005Z after "
        "2013-10-08T00:00:02.000000000Z. Sort the rows by ts_event."
    )


def test_order_counts_for_the_selected_rows_only(tmp_path):
    path = write(tmp_path, [quote(DAY + 5, 1.0, 1.0, 2.0, 1.0, symbol="B"), quote(DAY, 1.0, 1.0, 2.0, 1.0, symbol="A")])
    assert len(columns(parquet(path, symbols=["A"]))["ts"]) == 1
    assert "row 1" in said(DataError, lambda: parquet(path))


def test_an_unknown_symbol_names_the_known_ones(tmp_path):
    path = write(tmp_path, [quote(DAY, 1.0, 1.0, 2.0, 1.0, symbol=f"S{k}") for k in range(12)])
    assert said(DataError, lambda: parquet(path, symbols=["S1", "XYZ"])) == (
        f"source.symbols: {path} has no symbol 'XYZ'. It has S0, S1, S2, S3, S4, S5, S6, S7, S8, S9 and 2 more."
    )


def test_a_day_without_rows_names_the_days_there_are(tmp_path):
    path = write(tmp_path, [quote(DAY, 1.0, 1.0, 2.0, 1.0), quote(DAY + 86_400 * SECOND, 1.0, 1.0, 2.0, 1.0, symbol="IBM")])
    assert said(DataError, lambda: parquet(path, day="2013-10-10")) == (
        f"source.day: {path} has no row on 2013-10-10. It has 2013-10-07, 2013-10-08 (America/New_York)."
    )
    assert said(DataError, lambda: parquet(path, day="2013-10-08", symbols=["BAC"])) == (
        f"source.day: {path} has no row of BAC on 2013-10-08. It has 2013-10-07 (America/New_York)."
    )


def test_a_wrong_day_or_zone_is_one_sentence(tmp_path):
    path = write(tmp_path, [quote(DAY, 1.0, 1.0, 2.0, 1.0)])
    assert said(ConfigError, lambda: parquet(path, day="8.10.2013")) == "source.day is '8.10.2013', not a date like 2013-10-08."
    assert said(ConfigError, lambda: parquet(path, timezone="Mars/Olympus")).startswith("source.timezone: this system knows no time zone 'Mars/Olympus'.")


def test_a_file_without_rows_says_so(tmp_path):
    assert said(DataError, lambda: parquet(write(tmp_path, []))).endswith("has no row with a time. Name a file with ticks (source.path).")


# Recorded ticks


@pytest.mark.skipif(not DATA.is_dir(), reason="recorded ticks are not here (TICKARROW_DATA names their folder)")
@pytest.mark.parametrize(
    "name",
    ["us_equity_ticks_dev", "fx_ticks_dev", "bitstamp_btcusd_dev", "crypto_spot_ticks_dev", "es_futures_mbp1_dev", "es_futures_trades_dev",
     "ib_historical_ticks_dev", "ib_stream_recording_dev", "iex_tops_dev", "nasdaq_book_amzn_20120621_dev", "sse_snapshot_ticks_dev"],
)  # fmt: skip
def test_recorded_files_are_read_whole(name):
    path = DATA / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    source = parquet(path)
    assert isinstance(source, ParquetSource)
    rows = trades = 0
    last = source.start_ns
    for block in source.blocks():
        rows, trades = rows + len(block), trades + int((block.kind == Kind.TRADE).sum())
        assert block.ts[0] >= last
        last = int(block.ts[-1])
    file = pq.ParquetFile(path)
    assert rows + sum(source.bad.values()) == file.metadata.num_rows
    assert trades == pc.sum(pc.equal(file.read(columns=["kind"])["kind"], "trade")).as_py()
    assert last == source.end_ns
