"""Family `cross` against its twin, hand-computed passes, independent implementations, and any order of the symbols."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from feature_run import run_cross
from feature_ticks import TICK, streams
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_cross import Market
from naive_features import TRADE, Tick
from verify_cross import CHECKS, SECOND, ZERO, market, quote

from tickarrow.jit.cross import FAMILY

pytestmark = pytest.mark.pure
NAMES = [c.name for c in FAMILY.pass_columns]
ROUNDED = {"z_ofi": 2e-4, "z_relative_volume": 2e-4, "z_volatility": 2e-4, "beta_60b": 2e-5}  # values are rounded before they are compared
ATOL = np.array([ROUNDED.get(n, 1e-6) for n in NAMES])


def trade(seconds, symbol, price, size=100.0):
    return Tick(ZERO + round(seconds * SECOND), symbol, TRADE, round(price - TICK, 3), 100.0, round(price + TICK, 3), 100.0, price, size)


phases = st.lists(
    st.tuples(st.sampled_from([40, 120, 340]), st.sets(st.integers(0, 5), max_size=2), st.sampled_from([0, 0, 7, 250, 301, 3600])),
    min_size=1, max_size=3,
)  # fmt: skip


def check(ticks, symbols, picked=None, **options):
    """Passes against the twin: all, or some."""
    every = options.pop("every", 60)
    twin = Market(ticks, symbols, every=every, **options)
    times, got = run_cross(FAMILY, ticks, symbols, every_ns=every * SECOND, **options)
    assert times == [p * SECOND for p in twin.passes]
    for i in range(len(times)) if picked is None else {p % len(times) for p in picked if times}:
        want = twin.columns(i)
        assert np.isclose(got[i], want, rtol=1e-6, atol=ATOL, equal_nan=True).all(), f"pass {i}:\n{NAMES}\n{got[i]}\n{want}"
    return got


@settings(max_examples=40)
@given(streams(most=60, symbols=4), st.sampled_from([-1, 0]))
def test_every_pass_equals_its_definition_whatever_the_ticks(ticks, index):
    check(ticks, 4, index=index, every=5, sector=[0, 1, 0, -1])


@settings(max_examples=12)
@given(phases, st.integers(3, 6), st.integers(0, 999), st.sampled_from([-1, 1]), st.sampled_from([0, 7]), st.lists(st.integers(0), min_size=3, max_size=3))
def test_long_markets_with_silent_symbols_and_silences_equal_their_definition(plan, symbols, seed, index, trades, picked):
    ticks = market(plan, symbols, seed)
    check(ticks, symbols, [*picked, -1], index=index, trades=trades, every=10, sector=[s % 2 for s in range(symbols)])


@given(st.permutations(range(5)), st.sampled_from([-1, 2]))
@settings(max_examples=5)
def test_the_order_of_the_symbols_changes_no_bit(order, index):
    ticks, sector = market([(330, {1}, 3), (60, set(), 0)], 5, 4), np.array([0, 1, 1, 0, 1])
    _, got = run_cross(FAMILY, ticks, 5, sector, index, every_ns=10 * SECOND)
    moved = [t._replace(symbol=order[t.symbol]) for t in ticks]
    there = np.empty(5, int)
    there[list(order)] = sector
    _, again = run_cross(FAMILY, moved, 5, there, order[index] if index >= 0 else -1, every_ns=10 * SECOND)
    assert got.tobytes() == again[:, list(order)].tobytes()
    assert np.isfinite(got[-1, [0, 3, 4]]).all()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_columns_equal_independent_implementations(check):
    assert check.largest_error() <= check.rtol


def test_every_column_has_a_check_and_a_complete_declaration():
    assert {c.column for c in CHECKS} == set(NAMES)
    assert len(NAMES) == 17
    for c in FAMILY.pass_columns:
        assert all((c.unit, c.formula, c.window, c.warm_up, c.verifier))


def last(*ticks, symbols=3, **options):
    """Columns of the last pass by name, arrays over the symbols; a tick behind the given ones makes it due."""
    ticks = sorted(ticks)
    end = Tick(ticks[-1].ts + SECOND, *ticks[-1][1:])
    return SimpleNamespace(**dict(zip(NAMES, run_cross(FAMILY, [*ticks, end], symbols, **options)[1][-1].T)))


def equal(got, *want, rel=1e-6):
    assert got.tolist() == pytest.approx(want, rel=rel, abs=rel, nan_ok=True)


@pytest.mark.parametrize("window", [30, 300])
def test_hand_computed_returns(window):
    # mids 100, 100, 100, 100 -> 101, 102, 102, 100: one symbol is below the first and two above it, (1 - 2) / 3
    mids = [101, 102, 102, 100]
    got = last(*(quote(0.5, s, 100) for s in range(4)), *(quote(window + 0.5, s, m) for s, m in enumerate(mids)), symbols=4, sector=[0, 0, 1, 2])
    a, b = 1e4 * math.log(1.01), 1e4 * math.log(1.02)
    equal(getattr(got, f"rank_return_{window}s"), -1 / 3, 2 / 3, 2 / 3, -1)
    equal(getattr(got, f"sector_neutral_{window}s"), (a - b) / 2, (b - a) / 2, math.nan, math.nan)
    equal(got.index_lag_1s, *[(a + 2 * b) / 4] * 4)  # prices stood still before the last second
    equal(got.index_lag_5s, *[(a + 2 * b) / 4] * 4)


def test_hand_computed_scores():
    # Of three values at equal distances, deviation sqrt(2/3) of the distance. OFI: 100 of 100, 0 of 200, -100 of 100; log volatility: 0, ln 2, ln 4
    first = [quote(0.5, s, 1e5) for s in range(3)]
    flow = [quote(10.5, 0, 1e5, 200.0), quote(10.5, 1, 1e5, 200.0), quote(10.6, 1, 1e5, 100.0), quote(10.5, 2, 1e5, 50.0), quote(10.6, 2, 1e5, 50.0, 150.0)]
    moves = [quote(30.5, s, 1e5 * 1.001**k) for s, k in enumerate([1, 2, 4])]
    unit = math.sqrt(1.5)
    equal(last(*first, *flow, quote(30.5, 0, 1e5, 200.0)).z_ofi, unit, 0, -unit)
    equal(last(*first, *moves).z_volatility, -unit, 0, unit)
    # shares of the first second and of the next 30: (0, 100), (100, 0), (100, 100). Ratios of the decayed sums but for a common factor
    trades = [trade(0.6, 1, 1e5), trade(0.6, 2, 1e5), trade(30.5, 0, 1e5), trade(30.5, 2, 1e5)]
    x = np.array([1, math.exp(-0.9), (math.exp(-1) + 1) / (math.exp(-0.1) + 1)])
    equal(last(*first, *trades).z_relative_volume, *(x - x.mean()) / x.std(), rel=1e-5)


def test_a_hand_computed_regression():
    # x = a (+ + - -), s = (+ - + -): orthogonal. Residuals c s_k / w_k make s and the weights w_k orthogonal too: the slope is 2 exactly
    n, a, c = 320, 10.0, 5.0
    k = np.arange(n)
    w = np.exp((k - n + 1) / 300)
    x, u = a * np.tile([1, 1, -1, -1], n // 4), c * np.tile([1, -1, 1, -1], n // 4) / w
    paths = [np.cumsum(np.r_[0, y]) for y in (x, 2 * x + u)]
    got = last(*(quote(i + 0.5, s, 1e6 * math.exp(y * 1e-4)) for s, path in enumerate(paths) for i, y in enumerate(path)), symbols=2, index=0)
    xx, uu = (w * x * x).sum() - (w * x).sum() ** 2 / w.sum(), (w * u * u).sum()
    error = uu / xx / (w.sum() ** 2 / (w * w).sum() - 2)
    beta, idio = (0.25 * 2 + error) / (0.25 + error), math.sqrt(uu / w.sum())
    equal(got.beta_300s, 1, beta, rel=1e-5)
    equal(got.idio_vol_300s, 0, idio, rel=1e-5)
    equal(got.index_corr_300s, 1, 2 * xx / math.sqrt(xx * (4 * xx + uu)), rel=1e-5)
    # the last 30 of x sum to -2 a, the last 300 to 0
    equal(got.residual_30s, 0, 2 * -2 * a + u[-30:].sum() - beta * -2 * a, rel=1e-5)
    equal(got.residual_300s, 0, u[-300:].sum(), rel=1e-5)
    equal(got.residual_z_300s, math.nan, u[-300:].sum() / idio / math.sqrt(300), rel=1e-5)
    # x ends with - + + - -
    equal(got.index_lag_1s, -a, -a, rel=1e-5)
    equal(got.index_lag_5s, -a, -a, rel=1e-5)


def bars_of(seconds, every=1):
    """Symbol 0 is the index, 1 has y = 3 x + u with u = 3 a (+ + - -) and x = a (+ -), 2 trades at one price: a bar each `every` s."""
    a, ticks = 1e-3, []
    x = a * np.resize([1, -1], seconds)
    y = 3 * x + 3 * a * np.resize([1, 1, -1, -1], seconds)
    for i, (p, q) in enumerate(zip(np.cumsum(np.r_[0, x]), np.cumsum(np.r_[0, y]))):
        t = i * every + 0.5
        ticks += [quote(t, 0, 1e6 * math.exp(p)), quote(t, 1, 1e6), quote(t, 2, 1e6)]
        ticks += [trade(t, 1, round(1e6 * math.exp(q), 4)), trade(t, 2, 1e6), trade(t, 0, 1e6 * (1 - 1e-4 * i))]
    return ticks


@pytest.mark.parametrize("trades", [0, 1])
def test_hand_computed_bars(trades):
    # slope 3, s^2 = 20 (3 a)^2 / (20 a^2 18) = 1/2: (0.25 3 + 0.5) / (0.25 + 0.5) = 5/3. The flat symbol: slope 0, s^2 = 0
    got = last(*bars_of(20), index=0, every_ns=SECOND, trades=trades)
    assert got.beta_60b[1] == pytest.approx(5 / 3, rel=1e-4)
    assert got.beta_60b[2] == 0.0
    equal(got.rank_return_1b, 0.0, -1.0, 1.0)  # the last bars: falling slowly, falling by 6 a, flat
    assert np.isnan(last(*bars_of(19), index=0, every_ns=SECOND, trades=trades).beta_60b).all()


def test_bars_that_close_between_two_passes_are_one_sample():
    # three trades a second, each a bar: only their sum has an index return
    ticks = []
    for t in bars_of(20):
        ticks += [t, t._replace(ts=t.ts + 1, price=1.001 * t.price), t._replace(ts=t.ts + 2)] if t.kind == TRADE else [t]
    got = last(*ticks, index=0, trades=1)
    assert got.beta_60b[1] == pytest.approx(5 / 3, rel=1e-4)
    equal(got.rank_return_1b, 0.0, 0.0, 0.0)  # the last bar alone: back by 0.1 % for all


def test_a_symbol_that_falls_silent_is_left_out_and_starts_anew():
    others = [quote(i + 0.5, s, 100 + s + 0.01 * (i % 3)) for i in range(400) for s in range(3)]
    _, got = run_cross(FAMILY, sorted([*others, *(quote(i + 0.6, 3, 50 + 0.01 * (i % 2)) for i in [*range(40), *range(350, 400)])]), 4)
    rank, lag = got[:, 3, NAMES.index("rank_return_30s")], got[:, 3, NAMES.index("index_lag_1s")]
    passes = np.arange(1, len(got) + 1)  # quotes at 0.6 .. 39.6 and from 350.6 on: live in passes 1 .. 339 and from 351
    assert (np.isfinite(lag[1:]) == ((passes <= 339) | (passes >= 351))[1:]).all()
    assert (np.isfinite(rank) == (((passes > 30) & (passes <= 339)) | (passes >= 381))).all()


def test_a_silence_of_the_market_of_300_s_is_bridged_and_a_longer_one_ends_what_was():
    def after(silence):
        before = [quote(i + 0.5, s, 100 + s + 0.01 * ((i + s) % 3)) for i in range(400) for s in range(3)]
        return last(*before, *(quote(399.5 + silence, s, 110 + s) for s in range(3)))

    a, b = after(300), after(301)
    assert np.isfinite(a.rank_return_300s).all()
    assert np.isfinite(a.index_lag_1s).all()
    for name in ("rank_return_30s", "rank_return_300s", "z_volatility", "index_lag_1s", "residual_30s", "sector_neutral_30s"):
        assert np.isnan(getattr(b, name)).all()
    assert np.isfinite(b.beta_300s).all()  # has decayed, not ended


def test_two_symbols_are_too_few_to_compare_but_have_an_index_if_one_of_them_is_it():
    ticks = [quote(i + 0.5, s, 100 + 0.01 * ((i * (s + 1)) % 5)) for i in range(60) for s in range(2)]
    mean, lane = last(*ticks, symbols=2), last(*ticks, symbols=2, index=1)
    for name in ("rank_return_30s", "z_ofi", "z_volatility"):
        assert np.isnan(getattr(lane, name)).all()
    assert np.isfinite(mean.sector_neutral_30s).all()
    assert np.isnan(mean.beta_300s).all()
    assert np.isfinite(lane.beta_300s).all()
    equal(lane.index_corr_300s[1:], 1.0)


def test_a_symbol_without_a_mid_or_a_sector_is_nan_and_disturbs_nobody():
    full = [quote(i + 0.5, s, 100 + s + 0.01 * ((i * (s + 1)) % 7)) for i in range(60) for s in range(4)]
    cut = [t if t.symbol != 3 else t._replace(bid=math.nan) for t in full]
    without = last(*(t for t in full if t.symbol != 3), sector=[0, 0, -1])
    got = last(*cut, symbols=4, sector=[0, 0, -1, 0])
    for name in NAMES:
        assert math.isnan(getattr(got, name)[3])
        equal(getattr(got, name)[:3], *getattr(without, name), rel=0)
    assert math.isnan(got.sector_neutral_30s[2])
