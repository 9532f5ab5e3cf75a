from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.pipeline.adapters import rows_of
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.schemas import Kind
from tickarrow.pipeline.universe import Universe

UNIVERSE = Universe.of(["BAC", "IBM"])
T0 = 1_381_219_200_000_000_000
NONE = float("nan")

TICKS = {
    "ts_event": np.array([T0, T0, T0 + 1_000, T0 + 2_000], np.int64),
    "symbol": np.array(["IBM", "BAC", "IBM", "BAC"]),
    "kind": np.array(["quote", "quote", "trade", "quote"]),
    "bid": np.array([180.0, 14.0, NONE, NONE]),
    "bid_size": np.array([100.0, 500.0, NONE, NONE]),
    "ask": np.array([180.02, 14.01, NONE, 14.02]),
    "ask_size": np.array([300.0, 600.0, NONE, 700.0]),
    "price": np.array([NONE, NONE, 180.01, NONE]),
    "size": np.array([NONE, NONE, 10.0, NONE]),
}


def columns(table, **how):
    blocks = list(rows_of(table, UNIVERSE, **how))
    return {name: np.concatenate([getattr(b, name) for b in blocks]) for name in blocks[0].columns()}


def check(table):
    got = columns(table)
    assert got["ts"].tolist() == TICKS["ts_event"].tolist()
    assert got["symbol"].tolist() == [1, 0, 1, 0]
    assert got["kind"].tolist() == [0, 0, 1, 0]
    assert got["mask"].tolist() == [15, 15, 0, 12]
    for name in ("bid", "bid_size", "ask", "ask_size", "price", "size"):
        np.testing.assert_array_equal(got[name], TICKS[name])


def timed(unit, zone=None):
    return pa.array(TICKS["ts_event"]).cast(pa.timestamp("ns", zone)).cast(pa.timestamp(unit, zone))


ARROW = pa.table(TICKS)
TABLES = {
    "dict": TICKS,
    "dict of Kind": TICKS | {"kind": np.array([Kind.QUOTE, Kind.QUOTE, Kind.TRADE, Kind.QUOTE], np.uint8)},
    "arrow table": ARROW,
    "arrow chunks": pa.concat_tables([ARROW.slice(0, 1), ARROW.slice(1)]),
    "record batch": ARROW.to_batches()[0],
    "arrow timestamps": ARROW.set_column(0, "ts_event", timed("us")),
    "arrow zoned timestamps": ARROW.set_column(0, "ts_event", timed("ns", "America/New_York")),
    "arrow dictionary": ARROW.set_column(1, "symbol", ARROW["symbol"].dictionary_encode()),
    "arrow views": ARROW.set_column(2, "kind", ARROW["kind"].cast(pa.string_view())).set_column(
        1, "symbol", ARROW["symbol"].cast(pa.large_string())
    ),
    "arrow decimals": ARROW.set_column(3, "bid", pa.array([Decimal("180.0"), Decimal("14.0"), None, None])),
    "empty ts_recv": ARROW.append_column("ts_recv", pa.nulls(4)),
    "pandas": pd.DataFrame(TICKS),
    "pandas categories": pd.DataFrame(TICKS).astype({"symbol": "category", "kind": "category"}),
    "pandas times": pd.DataFrame(TICKS).assign(ts_event=pd.to_datetime(TICKS["ts_event"], utc=True).tz_convert("America/New_York")),
    "polars": pl.DataFrame(TICKS),
    "polars times": pl.DataFrame(TICKS).with_columns(
        pl.col("ts_event").cast(pl.Datetime("ns", "UTC")), pl.col("symbol").cast(pl.Categorical)
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_kind_of_table_gives_the_same_rows(name):
    check(TABLES[name])


def test_the_received_time_is_the_key_where_there_is_one():
    assert columns(TICKS | {"ts_recv": TICKS["ts_event"] + 5})["ts"].tolist() == (TICKS["ts_event"] + 5).tolist()


def test_no_rows_give_no_block():
    assert list(rows_of(ARROW.slice(0, 0), UNIVERSE)) == []


values = st.one_of(st.just(NONE), st.sampled_from([0.0, -1.0, 14.0, 14.01, 1e9]))
sizes = st.one_of(st.just(NONE), st.sampled_from([0.0, 1.0, 700.0]))
row = st.tuples(st.sampled_from(["trade", "quote"]), values, sizes, values, sizes, values, sizes)


def expected(kind, bid, bid_size, ask, ask_size, price, size):
    """The rules one by one, on one row: (reason or None, mask, six values)."""

    def missing(x):
        return x != x

    if kind == "trade":
        if missing(size) or size <= 0:
            return "trade_size", 0, ()
        if not missing(price) and price <= 0:
            return "trade_price", 0, ()
        return None, 0, (NONE, NONE, NONE, NONE, price, size)
    mask, out, wrong = 0, [], False
    for price_, size_, bit in ((bid, bid_size, 1), (ask, ask_size, 4)):
        sentinel = price_ in (0.0, -1.0)
        if (sentinel and (missing(size_) or size_ == 0)) or (missing(price_) and size_ == 0):
            mask, out = mask | bit * 3, [*out, NONE, NONE]
            continue
        wrong |= price_ <= 0
        mask |= (0 if missing(price_) else bit) | (0 if missing(size_) else 2 * bit)
        out += [price_, size_]
    if missing(bid) and missing(ask):
        return None, 15, (NONE,) * 6
    return ("quote_price" if wrong else None), mask, (*out, NONE, NONE)


@given(st.lists(row, min_size=1, max_size=40), st.integers(1, 9))
@settings(max_examples=40)
def test_rows_follow_the_rules_one_by_one_however_they_are_cut(rows, block):
    names = ("kind", "bid", "bid_size", "ask", "ask_size", "price", "size")
    table = {n: np.array([r[k] for r in rows]) for k, n in enumerate(names)}
    table |= {"ts_event": np.arange(len(rows)) // 3 + T0, "symbol": np.array(["BAC"] * len(rows))}
    want = [expected(*r) for r in rows]
    reasons = [w[0] for w in want if w[0]]
    good = [w for w in want if w[0] is None]
    bad = {}
    blocks = list(rows_of(table, UNIVERSE, block, bad=bad))
    assert bad == {r: reasons.count(r) for r in reasons}
    assert all(0 < len(b) <= block for b in blocks)
    assert [int(m) for b in blocks for m in b.mask] == [w[1] for w in good]
    got = [[getattr(b, n)[i] for n in names[1:]] for b in blocks for i in range(len(b))]
    np.testing.assert_array_equal(np.array(got).reshape(-1, 6), np.array([w[2] for w in good]).reshape(-1, 6))


# Errors


def said(error, table):
    with pytest.raises(error) as e:
        list(rows_of(table, UNIVERSE))
    return str(e.value)


def test_a_missing_column_is_named():
    table = {k: v for k, v in TICKS.items() if k != "bid_size"}
    assert said(DataError, table).startswith("table has no column 'bid_size'. A tick table has the columns ts_event")


@pytest.mark.parametrize(
    ("column", "values", "arrow"),
    [
        ("ask", ["a", "b", "c", "d"], "string"),
        ("ts_event", [1.0, 2.0, 3.0, 4.0], "double"),
        ("symbol", [1, 2, 3, 4], "int64"),
        ("kind", [0.5] * 4, "double"),
    ],
)
def test_a_column_of_another_type_is_named(column, values, arrow):
    assert said(DataError, TICKS | {column: np.array(values)}).startswith(
        f"table: column {column!r} is {arrow}. A tick table has the columns"
    )


def test_an_unknown_symbol_names_the_known_ones():
    text = said(ConfigError, TICKS | {"symbol": np.array(["IBM", "XYZ", "IBM", "BAC"])})
    assert text == "unknown symbol 'XYZ': the universe has BAC, IBM. Add it to the universe or leave its rows out."


def test_time_out_of_order_is_named():
    text = said(DataError, TICKS | {"ts_event": TICKS["ts_event"][::-1].copy()})
    assert text == (
        "table: time out of order at row 1 (counted from 0): ts_event is 2013-10-08T08:00:00.000001000Z after "
        "2013-10-08T08:00:00.000002000Z. Sort the rows by ts_event."
    )


def test_columns_of_unequal_length_are_one_sentence():
    assert said(DataError, TICKS | {"bid": np.zeros(2)}).startswith("table cannot be read as an Arrow table: ")


def test_something_else_than_a_table_is_one_sentence():
    assert (
        said(DataError, [1, 2])
        == "ticks cannot be read from 'list'. Give a pandas or Polars DataFrame, a pyarrow Table, or a dict of NumPy arrays."
    )
