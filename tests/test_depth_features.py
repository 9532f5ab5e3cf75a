"""Family `depth` against its twin, hand-computed books, and the libraries of `verify_depth`."""

import math

import numpy as np
import pytest
from feature_run import run_depth
from feature_ticks import NAN, START, TICK, gap, stage
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_depth_features import ANEW, GAP, UNCERTAIN, Change, Row, depth
from verify_depth import CHECKS

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.jit.depth_features import FAMILY
from tickarrow.pipeline import features_registry
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide_act import Control
from tickarrow.pipeline.schemas import DEPTH, TICKS, ControlKind

pytestmark = pytest.mark.pure
NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]
BOOK, FLOW = NAMES[:8], NAMES[8:]
INSERT, UPDATE, DELETE = 0, 1, 2
SECOND = 1_000_000_000

size = st.sampled_from([100.0, 100.0, 200.0, 300.0, 1200.0, 50.0])


@st.composite
def books(draw, most=60, symbols=2):
    """Changes of depth books and rows between them: mostly such as fit; several rows of a price, sizes 0, no price, lost data, resets."""
    out, now = [], START
    held = {(s, side): [] for s in range(symbols) for side in (0, 1)}
    for _ in range(draw(st.integers(0, most))):
        now += draw(gap)
        s, side = draw(st.integers(0, symbols - 1)), draw(st.integers(0, 1))
        what = draw(st.sampled_from("iiiiiiuuuudddrrr" * 3 + "xfgb"))
        prices, flags = held[s, side], 0
        if what == "r":
            out.append(Row(now, s, 0))
            continue
        if what == "g" or what == "b":
            out.append(Row(now, s, GAP) if what == "g" else Change(now, s, 0, 0, ANEW, 0, NAN, NAN))
            if what == "b":
                held[s, 0], held[s, 1] = [], []
            continue
        position = draw(st.integers(0, len(prices)))
        if what in "ud" and prices:
            position = min(position, len(prices) - 1)
        before = prices[position - 1] if position and prices else 10_000 + side
        price = before + draw(st.sampled_from([0, 1, 1, 2, -1])) * (1 if side else -1)
        if what == "x":
            position, what = draw(st.sampled_from([-1, 5, 64, len(prices) + 1])), draw(st.sampled_from("iud"))
        elif what == "f":
            flags, what = UNCERTAIN, "i"
        operation = "iud".index(what)
        at = round(price * TICK, 2) if draw(st.integers(0, 19)) else NAN
        out.append(Change(now, s, flags, position, operation, side, at, draw(size) if draw(st.integers(0, 19)) else draw(st.sampled_from([0.0, NAN]))))
        if 0 <= position < 64:
            if operation == INSERT and position <= len(prices):
                prices.insert(position, price)
            elif operation == DELETE and position < len(prices):
                del prices[position]
            elif operation == UPDATE and position < len(prices):
                prices[position] = price
            elif operation != DELETE:
                prices += [price] * (position + 1 - len(prices))
    return out


def built(bids, asks, at=0.0, flags=0):
    """Changes that build a book of (price in ticks, size)."""
    ts = START + round(at * SECOND)
    sides = ((0, bids), (1, asks))
    return [Change(ts, 0, flags, k, INSERT, side, round(p * TICK, 2), float(q)) for side, levels in sides for k, (p, q) in enumerate(levels)]


def change(at, side, position, operation, price=0, shares=0.0, flags=0):
    return Change(START + round(at * SECOND), 0, flags, position, operation, side, round(price * TICK, 2), float(shares))


def row(at, flags=0):
    return Row(START + round(at * SECOND), 0, flags)


def last(items, tau_s=FAMILY.tau_s):
    return dict(zip(NAMES, run_depth(FAMILY, items, tau_s)[0][-1]))


def expected(items, tau_s=FAMILY.tau_s):
    return np.array([depth([x for x in items[: i + 1] if x.symbol == items[i].symbol], TICK, tau_s) for i in range(len(items))]).reshape(-1, 14)


# Rounding of the distances is relative to the price (1e4 ticks), so it is absolute in ticks and shares a tick.
@given(books())
def test_every_row_equals_its_definition(items):
    got = run_depth(FAMILY, items)[0]
    np.testing.assert_allclose(got, expected(items), rtol=1e-8, atol=1e-8)


def deep(levels, start=10_000):
    """Two sides of a book, one tick between levels."""
    return [(start - k, 100 * (k + 1)) for k in range(levels)], [(start + 1 + k, 200) for k in range(levels)]


def test_a_long_stream_equals_its_definition():
    rng = np.random.default_rng(3)
    items = built(*deep(8))
    for i in range(150):
        side, position = int(rng.integers(2)), int(rng.integers(7))
        price = 10_000 - position if side == 0 else 10_001 + position
        items.append(change(0.3 * i, side, position, UPDATE, price, 100.0 * rng.integers(1, 20)))
    got, some = run_depth(FAMILY, items)[0], range(0, len(items), 9)
    np.testing.assert_allclose(got[some], [depth(items[: i + 1], TICK, FAMILY.tau_s) for i in some], rtol=1e-8, atol=1e-8)
    assert np.isfinite(got[60:]).all()


BIDS, ASKS = [(9_999, 300), (9_998, 100), (9_996, 200)], [(10_001, 100), (10_002, 100)]


def test_the_columns_of_a_hand_computed_book():
    got = last(built(BIDS, ASKS))
    # bids 600, asks 200; all the levels there are
    for n in (3, 5, 10):
        assert got[f"depth_imbalance_{n}"] == (600 - 200) / 800
    # mid 10000: (-1*300 - 2*100 - 4*200 + 1*100 + 2*100) / 800
    assert got["depth_mid_5"] == pytest.approx(-1000 / 800)
    # bid: distances 1 2 4, cumulated 300 400 600: a line of slope 100; ask: 1 2, 100 200: slope 100
    assert got["book_slope_bid"] == pytest.approx(100)
    assert got["book_slope_ask"] == pytest.approx(100)
    # bid: (300*1 + 100*2 + 200*4) / 600; ask: (100*1 + 100*2) / 200
    assert got["depth_distance_bid"] == pytest.approx(1300 / 600)
    assert got["depth_distance_ask"] == pytest.approx(1.5)


def test_the_imbalance_counts_the_first_levels_only():
    bids, asks = [(9_999 - k, 100) for k in range(12)], [(10_001 + k, 100 if k < 3 else 300) for k in range(12)]
    got = last(built(bids, asks))
    assert got["depth_imbalance_3"] == 0
    assert got["depth_imbalance_5"] == (500 - 900) / 1400
    assert got["depth_imbalance_10"] == (1000 - 2400) / 3400


def test_the_order_flow_of_hand_computed_changes():
    # bid 9999 x 300 -> 500: e_1 = +200; mean size of the levels (500 + 100 + 200 + 100 + 100) / 5 = 200: 1
    items = [*built(BIDS, ASKS), change(1, 0, 0, UPDATE, 9_999, 500)]
    got = last(items)
    assert [got[f"mlofi_{k}_5s"] for k in (1, 2)] == [1.0, 0.0]
    # 2 s later a better ask, 10000 x 50: e_1 = -50, e_2 = -(100) as 10001 < 10002, e_3 not compared: there was no third level
    # sizes of the levels 500 100 200 50 100 100: mean 175; decay d = exp(-2/5); divisor (200 d + 175) / (d + 1)
    d = math.exp(-2 / 5)
    got = last([*items, change(3, 1, 0, INSERT, 10_000, 50)])
    divisor = (200 * d + 175) / (d + 1)
    assert got["mlofi_1_5s"] == pytest.approx((200 * d - 50) / divisor)
    assert got["mlofi_2_5s"] == pytest.approx(-100 / divisor)
    assert got["mlofi_3_5s"] == 0.0  # of the bids it was compared
    assert math.isnan(got["mlofi_4_5s"])


def test_a_level_that_moves_up_and_is_filled_up_from_behind_is_compared_with_its_latest():
    bids = [(9_999 - k, 100 + k) for k in range(5)]
    items = [*built(bids, ASKS), change(1, 0, 0, DELETE), change(1, 0, 4, INSERT, 9_994, 7)]
    got = last(items)
    # every level fell: e_k = -q_k of before; sizes after the deletion 101 102 103 104 100 100, after the insertion also 7
    divisor = (610 / 6 + 617 / 7) / 2
    np.testing.assert_allclose([got[f"mlofi_{k}_5s"] for k in range(1, 6)], -np.arange(100, 105) / divisor)


def test_the_integrated_flow_of_two_levels_that_move_together():
    # both bid levels swing between 100 and 300 at once: equal flows, so equal loadings; levels 3 to 5 do not move and have none
    items = built([(9_999, 100), (9_998, 100), (9_997, 100)], [(10_001, 200)])
    for i in range(40):
        shares = 300 if i % 2 == 0 else 100
        items += [change(i + 1, 0, k, UPDATE, 9_999 - k, shares) for k in (0, 1)]
        got = last(items)
        assert math.isnan(got["ofi_integrated_300s"]) == (i < 9)  # 20 events
    assert got["ofi_integrated_300s"] == pytest.approx((got["mlofi_1_5s"] + got["mlofi_2_5s"]) / 2, rel=0.02)


def test_time_passes_between_changes():
    items = [*built(BIDS, ASKS), change(1, 0, 0, UPDATE, 9_999, 500)]
    assert last([*items, row(11)])["mlofi_1_5s"] == pytest.approx(math.exp(-2))
    assert last([*items, row(1)])["mlofi_1_5s"] == last([*items, row(0.5)])["mlofi_1_5s"] == 1.0  # a time that goes back is no time
    assert last([*items, row(1e7)])["mlofi_1_5s"] == 0.0


def test_rows_of_one_price_are_one_level():
    split = [(9_999, 200), (9_999, 100), (9_998, 100), (9_996, 150), (9_996, 50)]
    one, other = last(built(BIDS, ASKS)), last(built(split, ASKS))
    assert all(one[name] == other[name] for name in BOOK)


@pytest.mark.parametrize(("bids", "asks"), [([], ASKS), (BIDS, []), ([], [])])
def test_a_book_without_a_side_has_no_columns(bids, asks):
    items = [row(0), *built(bids, asks)]
    assert np.isnan(list(last(items).values())).all()


def test_a_side_of_one_level_has_no_slope():
    got = last(built(BIDS[:1], ASKS))
    assert math.isnan(got["book_slope_bid"])
    assert got["book_slope_ask"] == pytest.approx(100)
    assert got["depth_distance_bid"] == pytest.approx(1)


def test_a_crossed_book_has_all_columns():
    got = last(built([(10_002, 100), (10_000, 100)], [(10_000, 100), (10_001, 300)]))
    # mid 10001: bids at -1 and 1 behind it, asks at -1 and 0, totals 100 200 and 100 400
    assert (got["book_slope_bid"], got["book_slope_ask"]) == (pytest.approx(50), pytest.approx(300))
    assert (got["depth_distance_bid"], got["depth_distance_ask"]) == (pytest.approx(1), pytest.approx(0.25))


FLOWING = [*built(BIDS, ASKS), change(1, 0, 0, UPDATE, 9_999, 500)]


@pytest.mark.parametrize(
    "doubt",
    [change(2, 0, 0, UPDATE, 9_999, 500, UNCERTAIN), change(2, 1, 9, UPDATE, 10_009, 1), change(2, 0, 3, DELETE), row(2, GAP)],
    ids=["flag", "gap of the asks", "gap of the bids", "lost ticks"],
)  # fmt: skip
def test_an_uncertain_book_has_no_columns_and_its_flow_begins_anew(doubt):
    items = [*FLOWING, doubt]
    assert np.isnan(list(last(items).values())).all()
    assert np.isnan(list(last([*items, row(3)]).values())).all()
    whole = [*items, Change(START + 4 * SECOND, 0, 0, 0, ANEW, 0, NAN, NAN), *built(BIDS, ASKS, 4)]
    assert {k: v for k, v in last(whole).items() if k in BOOK} == {k: v for k, v in last(built(BIDS, ASKS)).items() if k in BOOK}
    assert last(whole)["mlofi_1_5s"] == 0.0


def test_a_book_that_begins_anew_has_no_columns_until_both_sides_are_there():
    items = [*FLOWING, Change(START + 2 * SECOND, 0, 0, 0, ANEW, 0, NAN, NAN)]
    assert np.isnan(list(last(items).values())).all()
    assert np.isnan(list(last([*items, *built(BIDS, [], 3)]).values())).all()
    assert last([*items, *built(BIDS, ASKS, 3)])["depth_imbalance_3"] == 0.5


def test_symbols_do_not_meet():
    items = built(BIDS, ASKS)
    other = [x._replace(symbol=1, price=x.price + 1) for x in built(*deep(6))]
    mixed = [x for pair in zip(items, other) for x in pair] + other[len(items) :]
    state = run_depth(FAMILY, mixed)[1]
    alone = run_depth(FAMILY, items)[1]
    assert state[0].tobytes() == alone[0].tobytes()


def through_the_stage(items, cut, depth):
    """float32 columns of the rows among the items, through the features stage in pieces of `cut` items; a reset is a control event."""
    running = stage(FeaturesConf([FamilyConf("depth")], throttle_ns=0), depth=depth)
    ticks, out = Table(TICKS, capacity=16), []
    for begin, end in pieces(items, cut):
        if getattr(items[begin], "operation", 0) == ANEW:
            running.apply(Control(kind=ControlKind.DEPTH_RESET, symbol=items[begin].symbol))
            continue
        rows, changes = [], []
        for i, item in enumerate(items[begin:end], begin):
            if isinstance(item, Row):
                rows.append((ticks.rows + len(rows), item.ts, item.symbol, item.flags, float(i)))
            else:
                changes.append((ticks.rows + len(rows), *item))
        fill(depth, ("seq", "ts", "symbol", "flags", "position", "operation", "side", "price", "size"), changes)
        out.append(running.step(fill(ticks, ("seq", "ts", "symbol", "flags", "bid"), rows)).view("x").copy())
    return np.concatenate(out) if out else np.zeros((0, 14), np.float32)


def pieces(items, cut):
    """Windows of `cut` items; a reset has one of its own."""
    begin = 0
    for i, item in enumerate(items):
        if getattr(item, "operation", 0) == ANEW or i - begin == cut:
            if i > begin:
                yield begin, i
            begin = i
        if getattr(item, "operation", 0) == ANEW:
            yield i, i + 1
            begin = i + 1
    if begin < len(items):
        yield begin, len(items)


def fill(table, names, rows):
    """Commit rows of the named columns; the others are 0."""
    at, columns = table.reserve(len(rows)), table.segment.columns
    for name in columns:
        columns[name][at : at + len(rows)] = [r[names.index(name)] for r in rows] if name in names else 0
    return table.commit(len(rows))


@settings(max_examples=20)
@given(books(), st.integers(1, 9))
def test_the_stage_gives_the_same_bits_however_it_is_cut(items, cut):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(features_registry._families, "depth", FAMILY)
        got = through_the_stage(items, cut, Table(DEPTH, capacity=16))
    want = run_depth(FAMILY, items)[0][[isinstance(x, Row) for x in items]].astype(np.float32)
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}: {c.library}")
def test_the_column_agrees_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol, check.why


def test_every_column_has_a_check():
    assert {c.column for c in CHECKS} == set(NAMES)
