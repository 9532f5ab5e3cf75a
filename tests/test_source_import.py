"""Ticks of other programs' files, written here by hand in their formats: rows, order, what is left out, and what a user is told."""

from __future__ import annotations

import datetime as dt
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.configs.source import ImportConf, SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decode import FromRows
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.schemas import TICKS
from tickarrow.pipeline.source import open_source
from tickarrow.pipeline.source_import import main as import_command

SECOND = 10**9
MS = 10**6
NINE = 1_381_150_800 * SECOND  # 2013-10-07 09:00 New York
MIDNIGHT = NINE - 9 * 3600 * SECOND
nan = np.nan


def opened(kind, path, **conf):
    return open_source(SourceConf(kind=kind, path=str(path), **conf), UniverseConf())


def rows(source):
    """All rows as (ts - midnight, symbol, kind, mask, bid, bid_size, ask, ask_size, price, size)."""
    out = []
    for block in source.blocks():
        c = block.columns()
        c["ts"] = c["ts"] - MIDNIGHT
        out += list(zip(*(column.tolist() for column in c.values())))
    return out


def same(got, expected):
    assert len(got) == len(expected), got
    for g, e in zip(got, expected):
        np.testing.assert_array_equal(np.array(g, float), np.array(e, float))


def quote(ts, bid, bid_size, ask, ask_size, mask=15, symbol=0):
    return (ts, symbol, 0, mask, bid, bid_size, ask, ask_size, nan, nan)


def trade(ts, price, size, symbol=0):
    return (ts, symbol, 1, 0, nan, nan, nan, nan, price, size)


def said(error, call):
    with pytest.raises(error) as e:
        call()
    return str(e.value)


def ticks_of(source):
    """TICKS of a source, as the pipeline makes them."""
    table = Table(TICKS)
    stage = FromRows(len(source.universe), table)
    batches = [stage.step(block) for block in source.blocks()]
    out = [tuple(getattr(b, c)[b.lo : b.hi].tolist() for c in ("ts", "symbol", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size")) for b in batches]
    return [np.concatenate(c) for c in zip(*out)]


# --- Lean


def lean_file(root, folder, symbol, day, kind, lines):
    at = root / folder / symbol
    at.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(at / f"{day}_{kind}.zip", "w") as z:
        z.writestr(f"{day}_{symbol}_{kind}.csv", "".join(line + "\r\n" for line in lines))


@pytest.fixture
def lean(tmp_path):
    t = 9 * 3600 * 1000
    lean_file(tmp_path, "equity/usa/tick", "bac", "20131007", "quote", [
        f"{t},140100,300,0,0,P,1,0", f"{t},0,0,140200,500,Q,1,0",  # the two sides of one millisecond
        f"{t + 5},140100,400,0,0,P,1,0", f"{t + 6},140000,100,140300,200,K,1,1",
    ])  # fmt: skip
    lean_file(tmp_path, "equity/usa/tick", "bac", "20131007", "trade", [f"{t},140200,100,D,20002000,0", f"{t + 5},140150,0,D,1,0", f"{t + 6},140100,7,D,1,1"])
    lean_file(tmp_path, "equity/usa/tick", "ibm", "20131007", "trade", [f"{t + 1},1821000,50,N,1,0"])
    lean_file(tmp_path, "equity/usa/tick", "ibm", "20131008", "trade", [f"{t},1831000,60,N,1,0"])
    return tmp_path


def test_a_lean_day_by_hand(lean):
    source = opened("lean", lean, symbols=["BAC", "ibm"], day="2013-10-07")
    t = 9 * 3600 * SECOND
    assert source.universe.symbols == ["BAC", "IBM"]
    assert (source.start_ns, source.end_ns) == (NINE, NINE + 6 * MS)
    expected = [
        quote(t, 14.01, 300, 14.02, 500), trade(t, 14.02, 100), trade(t + MS, 182.1, 50, symbol=1),
        quote(t + 5 * MS, 14.01, 400, nan, nan, mask=3), quote(t + 6 * MS, 14.0, 100, 14.03, 200), trade(t + 6 * MS, 14.01, 7),
    ]  # fmt: skip
    same(rows(source), expected)
    assert source.bad == {"trade_size": 1}
    same(rows(source), expected)  # a source begins anew
    assert source.bad == {"trade_size": 1}
    table = next(source.tables())
    assert table["exchange"].to_pylist() == ["P|Q", "D", "N", "P|", "D", "K|K", "D"]
    assert table["conditions"].to_pylist() == ["1", "20002000", "1", "1", "1", "1;suspicious", "1;suspicious"]


def joined(lines):
    """Twin of the joining of sides, line by line."""
    out = []
    for ms, bid, ask in lines:
        last = out[-1] if out else None
        one = (bid is None) != (ask is None)
        if last and one and last["open"] and last["ms"] == ms and (last["bid"] is None) == (ask is None):
            last["bid"], last["ask"], last["open"] = last["bid"] or bid, last["ask"] or ask, False
        else:
            out.append({"ms": ms, "bid": bid, "ask": ask, "open": one})
    return [(r["ms"], r["bid"], r["ask"]) for r in out]


SIDE = st.one_of(st.none(), st.integers(1, 9).map(float))


@given(st.lists(st.tuples(st.integers(0, 2), SIDE, SIDE), min_size=1, max_size=40))
def test_the_sides_of_a_millisecond_are_joined_as_line_by_line(lines):
    lines = sorted(lines, key=lambda line: line[0])
    with tempfile.TemporaryDirectory() as folder:
        texts = [f"{ms},{(b or 0) * 10000:g},1,{(a or 0) * 10000:g},1,P,1,0" for ms, b, a in lines]
        lean_file(Path(folder), "equity/usa/tick", "bac", "20131007", "quote", texts)
        got = [t for table in opened("lean", folder).tables() for t in table.to_pylist()]
    assert [((r["ts_event"] - MIDNIGHT) // MS, r["bid"], r["ask"]) for r in got] == joined(lines)


def test_lean_days_follow_each_other(lean):
    source = opened("lean", lean, symbols=["IBM"])
    assert [r[0] for r in rows(source)] == [9 * 3600 * SECOND + MS, 33 * 3600 * SECOND]
    assert opened("lean", lean).universe.symbols == ["BAC", "IBM"]


def test_lean_bars_are_rows_at_their_end(lean):
    t = 9 * 3600 * 1000
    lean_file(lean, "equity/usa/second", "bac", "20131007", "quote", [f"{t},1,2,3,140100,300,5,6,7,140200,400", f"{t + 1000},1,2,3,140000,300,,,,,"])
    source = opened("lean", lean, symbols=["BAC"], day="2013-10-07", quotes="second")
    quotes = [r for r in rows(source) if r[2] == 0]
    at = 9 * 3600 * SECOND
    same(quotes, [quote(at + SECOND, 14.01, 300, 14.02, 400), quote(at + 2 * SECOND, 14.0, 300, nan, nan, mask=3)])
    assert next(source.tables())["conditions"].to_pylist()[-1] == "close_of_1s_bar"
    lean_file(lean, "equity/usa/minute", "bac", "20131007", "trade", [f"{t},140000,150000,130000,145000,900"])
    same(rows(opened("lean", lean, symbols=["BAC"], resolution="minute")), [trade(at + 60 * SECOND, 14.5, 900)])


def test_lean_forex_is_not_scaled_and_has_a_clock_of_its_own(tmp_path):
    lean_file(tmp_path, "forex/fxcm/tick", "eurusd", "20140702", "quote", ["0,1.38727,1.38729", "250,1.38728,1.3873"])
    source = opened("lean", tmp_path, asset="forex", market="fxcm")
    assert source.start_ns == int(dt.datetime(2014, 7, 2, 5, tzinfo=dt.UTC).timestamp()) * SECOND  # UTC-05 also in summer
    same([r[3:] for r in rows(source)], [quote(0, 1.38727, nan, 1.38729, nan, mask=5)[3:], quote(0, 1.38728, nan, 1.3873, nan, mask=5)[3:]])


def test_lean_lines_that_cannot_be_read_are_counted(lean):
    t = 9 * 3600 * 1000
    lean_file(
        lean,
        "equity/usa/tick",
        "bac",
        "20131009",
        "trade",
        [f"{t},140200,100,D,1,0", f"{t},14x,100,D,1,0", f"{t},1,2", ",140200,100,D,1,0", f"{t + 1},140300,1,D,1,0"],
    )
    source = opened("lean", lean, symbols=["BAC"], day="2013-10-09")
    same(rows(source), [trade(57 * 3600 * SECOND, 14.02, 100), trade(57 * 3600 * SECOND + MS, 14.03, 1)])
    assert source.bad == {"bad_line": 3}


@pytest.mark.parametrize(
    ("conf", "text"),
    [
        ({"symbols": ["BCA"]}, "source.symbols: {0}/equity/usa has no symbol 'BCA'. Did you mean BAC?"),
        ({"symbols": ["ZZZZ"]}, "source.symbols: {0}/equity/usa has no symbol 'ZZZZ'. There is BAC, IBM."),
        ({"day": "2013-10-06"}, "source.day: {0}/equity/usa/tick has no file of BAC, IBM on 2013-10-06. It has 2013-10-07, 2013-10-08."),
        ({"market": "us"}, "source.market: {0}/equity has no folder 'us'. Did you mean usa?"),
        ({"asset": "forex"}, "source.asset: {0} has no folder 'forex'. There is equity."),
        ({"resolution": "second"}, "source.resolution: {0}/equity/usa has no folder of symbols in 'second'. It has tick."),
        ({"path": "nowhere"}, "source.path: nowhere is not a folder. Name Lean's data folder"),
    ],
)
def test_a_wrong_lean_folder_is_one_sentence(lean, conf, text):
    assert said(DataError, lambda: opened("lean", **{"path": lean} | conf)).startswith(text.format(lean))


def test_a_wrong_lean_setting_is_one_sentence(lean):
    assert said(ConfigError, lambda: opened("lean", lean, resolution="hour")) == "source.resolution is 'hour'. Choose tick, second or minute."
    assert said(ConfigError, lambda: opened("lean", lean, day="today")) == "source.day is 'today', not a date like 2013-10-08."
    assert said(ConfigError, lambda: opened("lean", "")).startswith("source.path is not set. Name Lean's data folder")


def test_a_damaged_lean_file_is_one_sentence(lean):
    path = lean / "equity/usa/tick/bac/20131007_trade.zip"
    path.write_bytes(b"no zip")
    assert said(DataError, lambda: opened("lean", lean)).startswith(f"{path} cannot be read as a zip file: ")


# --- LOBSTER

MESSAGES = [
    "34200.017459617,5,0,1,2238200,-1",  # a hidden sell order is hit by a buyer
    "34200.189607670,1,11885113,21,2238100,1",
    "34200.189607671,4,11885113,20,2238100,1",  # a visible buy order is hit by a seller
    "34200.2,3,1,5,2240000,-1",  # deeper in the book: nothing changes at the best level
    "34201.0,7,0,0,-1,-1",
    "34202.0,7,0,0,0,-1",
    "34203.0,7,0,0,1,-1",
    "34204.0,6,-1,100,2238000,-1",
    "34205.0,2,5,1,2239500,-1",
]
BOOKS = ["2239500,100,2231800,100", "2239500,100,2238100,21", "2239500,100,2238100,1", "2239500,100,2238100,1"]
BOOKS += ["2239500,100,2238100,1"] * 4 + ["9999999999,0,2238100,1"]


def lobster_pair(folder, symbol="AMZN", day="2013-10-07", messages=MESSAGES, books=BOOKS):
    message = folder / f"{symbol}_{day}_34200000_57600000_message_1.csv"
    message.write_text("".join(line + "\n" for line in messages))
    (folder / f"{symbol}_{day}_34200000_57600000_orderbook_1.csv").write_text("".join(line + "\n" for line in books))
    return message


def test_a_lobster_pair_by_hand(tmp_path):
    source = opened("lobster", lobster_pair(tmp_path))
    t = 34_200 * SECOND
    same(
        rows(source),
        [
            trade(t + 17_459_617, 223.82, 1), quote(t + 17_459_617, 223.18, 100, 223.95, 100), quote(t + 189_607_670, 223.81, 21, 223.95, 100),
            trade(t + 189_607_671, 223.81, 20), quote(t + 189_607_671, 223.81, 1, 223.95, 100),
            quote(t + SECOND, nan, nan, nan, nan), quote(t + 2 * SECOND, 223.81, 1, 223.95, 100),
            trade(t + 4 * SECOND, 223.8, 100), quote(t + 5 * SECOND, 223.81, 1, nan, nan),
        ],
    )  # fmt: skip
    assert source.bad == {}
    assert (source.start_ns, source.end_ns) == (MIDNIGHT + t + 17_459_617, MIDNIGHT + t + 5 * SECOND)
    table = next(source.tables())
    assert [c for c in table["conditions"].to_pylist() if c] == ["hidden;buy", "visible;sell", "cross"]


def test_a_lobster_folder_merges_symbols_and_days(tmp_path):
    lobster_pair(tmp_path)
    lobster_pair(tmp_path, "MSFT", messages=["34200.1,1,1,1,300000,1"], books=["300100,5,300000,1"])
    lobster_pair(tmp_path, "AMZN", "2013-10-08", messages=["34200.1,1,1,1,2238100,1"], books=["2239500,100,2238100,21"])
    source = opened("lobster", tmp_path)
    assert source.universe.symbols == ["AMZN", "MSFT"]
    got = rows(source)
    assert [r[1] for r in got] == [0, 0, 1] + [0] * 8
    assert [r[0] for r in got] == sorted(r[0] for r in got)
    assert len(rows(opened("lobster", tmp_path, symbols=["msft"]))) == 1
    assert len(rows(opened("lobster", tmp_path, day="2013-10-08"))) == 1


def test_wrong_lobster_files_are_one_sentence(tmp_path):
    path = lobster_pair(tmp_path)
    assert said(DataError, lambda: opened("lobster", tmp_path, symbols=["AMZM"])) == f"source.symbols: {tmp_path} has no symbol 'AMZM'. Did you mean AMZN?"
    assert (
        said(DataError, lambda: opened("lobster", tmp_path, day="2013-10-09"))
        == f"source.day: {tmp_path} has no file of AMZN on 2013-10-09. It has 2013-10-07."
    )
    assert said(DataError, lambda: opened("lobster", tmp_path / "no")).endswith("does not exist. Name a LOBSTER message file or the folder of such files.")
    (tmp_path / "x.csv").write_text("1")
    assert "is no LOBSTER message file" in said(DataError, lambda: opened("lobster", tmp_path / "x.csv"))
    lobster_pair(tmp_path, books=BOOKS[:-1])
    assert "has 9 events and its order book 8 states" in said(DataError, lambda: opened("lobster", path))
    lobster_pair(tmp_path, messages=[MESSAGES[1], MESSAGES[0], *MESSAGES[2:]])
    assert "time out of order at row 1" in said(DataError, lambda: opened("lobster", path))
    (tmp_path / path.name.replace("message", "orderbook")).unlink()
    assert f"{path.name} has no order book beside it" in said(DataError, lambda: opened("lobster", path))


# --- Databento


def dbn_file(path, records, schema="MBP_1", mappings=(("ESU4", 7, "2013-10-07", "2013-10-08"),), zstd=False):
    d = pytest.importorskip("databento_dbn", reason="the extra tickarrow[dbn] is not installed")

    def day(text):
        return dt.date.fromisoformat(text)

    intervals = [SimpleNamespace(raw_symbol=n, intervals=[SimpleNamespace(start_date=day(a), end_date=day(b), symbol=str(i))]) for n, i, a, b in mappings]
    metadata = d.Metadata(
        dataset="GLBX.MDP3", start=0, stype_in=d.SType.RAW_SYMBOL, stype_out=d.SType.INSTRUMENT_ID, schema=getattr(d.Schema, schema), mappings=intervals
    )
    data = metadata.encode() + b"".join(bytes(r) for r in records)
    if zstd:
        import pyarrow as pa

        data = pa.compress(data, codec="zstd", asbytes=True)
    path.write_bytes(data)
    return path


def book(at, action, price=0.0, size=0, bid=5528.5, ask=5528.75, bid_size=29, ask_size=6, instrument=7, side="B", cls="MBP1Msg"):
    d = pytest.importorskip("databento_dbn", reason="the extra tickarrow[dbn] is not installed")
    fixed = [d.UNDEF_PRICE if p is None else round(p * 1e9) for p in (price, bid, ask)]
    common = {"publisher_id": 1, "instrument_id": instrument, "ts_event": MIDNIGHT + at - 100, "price": fixed[0], "size": size, "side": d.Side.from_str(side)}
    common |= {"ts_recv": MIDNIGHT + at, "action": d.Action.from_str(action)}
    if cls == "TradeMsg":
        return d.TradeMsg(depth=0, **common)
    if cls == "CMBP1Msg":
        levels = d.ConsolidatedBidAskPair(bid_px=fixed[1], ask_px=fixed[2], bid_sz=bid_size, ask_sz=ask_size)
        return d.CMBP1Msg(rtype=d.RType.CMBP_1, levels=levels, **common)
    return d.MBP1Msg(depth=0, levels=d.BidAskPair(bid_px=fixed[1], ask_px=fixed[2], bid_sz=bid_size, ask_sz=ask_size), **common)


@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("cls", ["MBP1Msg", "CMBP1Msg"])
def test_a_databento_book_by_hand(tmp_path, cls, zstd):
    t = 9 * 3600 * SECOND
    records = [
        book(t, "A", cls=cls), book(t + 5, "T", 5528.75, 2, side="A", cls=cls), book(t + 6, "A", ask_size=4, cls=cls),
        book(t + 7, "C", bid=None, bid_size=0, cls=cls), book(t + 8, "A", instrument=99, cls=cls),
    ]  # fmt: skip
    source = opened("dbn", dbn_file(tmp_path / "es.dbn", records, "MBP_1" if cls == "MBP1Msg" else "CMBP_1", zstd=zstd))
    assert source.universe.symbols == ["ESU4"]
    expected = [
        quote(t, 5528.5, 29, 5528.75, 6), trade(t + 5, 5528.75, 2), quote(t + 6, 5528.5, 29, 5528.75, 4), quote(t + 7, nan, nan, 5528.75, 6),
    ]  # fmt: skip
    same(rows(source), expected)
    assert source.bad == {"no_symbol": 1}
    assert (source.start_ns, source.end_ns) == (MIDNIGHT + t, MIDNIGHT + t + 7)
    table = next(source.tables())
    assert table["ts_event"].to_pylist()[:2] == [MIDNIGHT + t - 100, MIDNIGHT + t - 95]
    assert table["conditions"].to_pylist() == [None, "aggressor=A", None, None]


def test_a_tbbo_trade_stands_behind_the_quote_it_met(tmp_path):
    t = 9 * 3600 * SECOND
    path = dbn_file(tmp_path / "es.dbn", [book(t, "T", 5528.75, 2), book(t + 1, "T", 5528.75, 1), book(t + 2, "T", 5528.5, 1, ask_size=3)], "TBBO")
    kinds = [(r[0] - t, r[2]) for r in rows(opened("dbn", path))]
    assert kinds == [(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)]


def test_databento_trades_and_symbols_by_date(tmp_path):
    t = 9 * 3600 * SECOND
    mappings = (("ESU3", 7, "2013-10-07", "2013-10-08"), ("ESZ3", 7, "2013-10-08", "2013-10-09"), ("NQZ3", 8, "2013-10-07", "2013-10-09"))
    records = [
        book(t, "T", 10.0, 1, cls="TradeMsg"),
        book(t + 1, "T", 20.0, 1, instrument=8, cls="TradeMsg"),
        book(33 * 3600 * SECOND, "T", 11.0, 2, cls="TradeMsg"),
    ]
    path = dbn_file(tmp_path / "x.dbn", records, "TRADES", mappings)
    source = opened("dbn", path)
    assert source.universe.symbols == ["ESU3", "ESZ3", "NQZ3"]
    same(rows(source), [trade(t, 10, 1), trade(t + 1, 20, 1, symbol=2), trade(33 * 3600 * SECOND, 11, 2, symbol=1)])
    same(rows(opened("dbn", path, symbols=["nqz3"])), [trade(t + 1, 20, 1)])
    same(rows(opened("dbn", path, day="2013-10-08")), [trade(33 * 3600 * SECOND, 11, 2, symbol=1)])


def test_wrong_databento_files_are_one_sentence(tmp_path):
    t = 9 * 3600 * SECOND
    path = dbn_file(tmp_path / "x.dbn", [book(t, "A"), book(t - 1, "A")])
    assert "time out of order at row 1" in said(DataError, lambda: opened("dbn", path))
    path = dbn_file(tmp_path / "x.dbn", [book(t, "A")])
    assert said(DataError, lambda: opened("dbn", path, symbols=["ESU5"])) == f"source.symbols: {path} has no symbol 'ESU5'. Did you mean ESU4?"
    assert "has no row of ESU4 on 2013-10-09. It has 2013-10-07 (America/New_York)." in said(DataError, lambda: opened("dbn", path, day="2013-10-09"))
    assert "is of schema 'mbo', which has no quotes" in said(DataError, lambda: opened("dbn", dbn_file(tmp_path / "y.dbn", [], "MBO")))
    (tmp_path / "z.dbn").write_bytes(b"garbage" * 100)
    assert said(DataError, lambda: opened("dbn", tmp_path / "z.dbn")).startswith(f"{tmp_path / 'z.dbn'} cannot be read as a DBN file: ")
    assert said(DataError, lambda: opened("dbn", tmp_path)) == f"source.path: {tmp_path} is a folder. Name one file of Databento."


# --- the command, and parity


@pytest.mark.parametrize("kind", ["lean", "lobster", "dbn"])
def test_an_imported_file_gives_the_same_ticks_as_its_origin(tmp_path, lean, kind, capsys):
    t = 9 * 3600 * SECOND
    if kind == "lobster":
        lobster_pair(tmp_path)
        lobster_pair(tmp_path, "MSFT", messages=["34200.1,1,1,1,300000,1"], books=["300100,5,300000,1"])
        path = tmp_path
    elif kind == "dbn":
        path = dbn_file(tmp_path / "es.dbn", [book(t, "A"), book(t + 5, "T", 5528.75, 2), book(t + 7, "C", bid=None, bid_size=0)])
    else:
        path = lean
    conf = SourceConf(kind=kind, path=str(path))
    out = tmp_path / "ticks.parquet"
    counts = import_command(ImportConf(source=conf, out=str(out)))
    source = open_source(conf, UniverseConf())
    written = opened("parquet", out)
    assert [set(s.universe.symbols) for s in (source, written)] == [set(source.universe.symbols)] * 2
    if source.universe.symbols == written.universe.symbols:
        for a, b in zip(ticks_of(source), ticks_of(written)):
            np.testing.assert_array_equal(a, b)
    assert written.bad == {}
    assert counts["trades"] + counts["quotes"] == pq.read_metadata(out).num_rows == sum(map(len, open_source(conf, UniverseConf()).blocks()))
    assert counts["left_out"] == ({"trade_size": 1} if kind == "lean" else {})
    assert f"{out}: " in capsys.readouterr().out


def test_what_cannot_be_imported_is_one_sentence(tmp_path, lean):
    out = str(tmp_path / "ticks.parquet")
    text = "source=generated is nothing to import. Choose source=lean, source=lobster, source=dbn."
    assert said(ConfigError, lambda: import_command(ImportConf(source=SourceConf(), out=out))) == text
    conf = SourceConf(kind="lean", path=str(lean))
    assert said(DataError, lambda: import_command(ImportConf(source=conf, out=str(tmp_path / "no" / "x.parquet")))).endswith("(out=...).")
