"""The bar builder against its twin, for all four rules, and hand-computed bars."""

import math

import feature_bars
import naive_bars
import numpy as np
import pytest
from feature_run import sessions
from feature_ticks import NAN, START, TICK, cuts, stage, stream, streams, tick_table
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick
from naive_liquidity_bars import liquidity_bars

from tickarrow.configs.features import BarsConf, FamilyConf, FeaturesConf
from tickarrow.jit import bars, event, liquidity
from tickarrow.pipeline import features_registry

pytestmark = pytest.mark.pure
SECOND = 1_000_000_000
RULES = {"trades": bars.TICKS, "volume": bars.SHARES, "notional": bars.MONEY}
DAYS = sessions()


class Builder:
    """Calls the kernels in the order of the module's docstring."""

    def __init__(self, rule, threshold=0.0, every_ns=SECOND, of_mid=False, symbols=2):
        self.rule, self.threshold, self.every_ns, self.of_mid, self.symbols = rule, threshold, every_ns, of_mid, symbols
        self.clock, self.e = np.zeros(1, event.CLOCK), np.zeros(1, event.EVENT)
        self.clock["session"] = -1
        self.shared, self.bar = np.zeros(symbols, event.EVENT_STATE), np.zeros(symbols, bars.BAR_STATE)
        self.price, self.flow, self.when = np.zeros((4, symbols), np.int64), np.zeros((5, symbols)), np.zeros((2, symbols), np.int64)
        self.n, self.base = np.full(symbols, -1), np.zeros(symbols, np.int64)
        self.out = [[] for _ in range(symbols)]

    def closed(self, lo, hi):
        for k in range(lo, hi):
            if self.n[k] >= 0:
                price, flow = self.price[:, k] + self.base[k], self.flow[:, k]
                self.out[k].append(naive_bars.Bar(int(self.n[k]), *self.when[:, k].tolist(), *price.tolist(), *flow.tolist()))
        self.clock["bars"] += 1

    def step(self, t):
        clock, e, k, none = self.clock[0], self.e[0], t.symbol, np.empty(0)
        arrays = self.price, self.flow, self.when, self.n, self.base
        if self.rule == bars.TIME:
            if bars.bars_due(clock, t.ts):
                bars.bars_close(self.bar, 0, self.symbols, clock.next_bar - self.every_ns, clock.next_bar, *arrays)
                self.closed(0, self.symbols)
            bars.bars_next(clock, t.ts, self.every_ns)
        event.clock_step(clock, DAYS, t.ts)
        e.ts, e.symbol, e.kind = t.ts, k, t.kind
        e.bid, e.bid_size, e.ask, e.ask_size, e.price, e.quantity, e.tick_size = *t[3:9], TICK
        event.event_step(self.shared[k], e, clock, none)
        if bars.bar_step(self.bar[k], e, self.rule, self.of_mid, self.threshold):
            bars.bar_close(self.bar[k], k, self.bar[k].begin, t.ts, *arrays)
            self.closed(k, k + 1)

    def run(self, ticks):
        for t in ticks:
            self.step(t)
        return self.out

    def moved_to_another(self):
        """A builder with copies of all state, as after a restore."""
        other = Builder(self.rule, self.threshold, self.every_ns, self.of_mid, self.symbols)
        for name in ("clock", "shared", "bar", "price", "flow", "when", "n", "base"):
            getattr(other, name)[...] = getattr(self, name)
        other.out = self.out
        return other


def assert_equal(got, expected):
    """Prices, times and counts are equal; sums to rounding."""
    assert [b[:7] for b in got] == [b[:7] for b in expected]
    np.testing.assert_allclose([b[7:] for b in got], [b[7:] for b in expected], rtol=1e-9, atol=1e-9)


@given(streams(), st.sampled_from([SECOND // 4, SECOND, 10 * SECOND]), st.booleans())
def test_time_bars_equal_their_definition(ticks, every_ns, of_mid):
    got = Builder(bars.TIME, every_ns=every_ns, of_mid=of_mid).run(ticks)
    for k in range(2):
        assert_equal(got[k], naive_bars.time_bars(ticks, k, every_ns, of_mid, TICK))


@given(streams(), st.sampled_from(sorted(RULES)), st.sampled_from([1.0, 2.0, 100.0, 250.0, 20_000.0]), st.booleans())
def test_bars_of_ticks_volume_and_money_equal_their_definition(ticks, rule, threshold, of_mid):
    got = Builder(RULES[rule], threshold, of_mid=of_mid).run(ticks)
    for k in range(2):
        assert_equal(got[k], naive_bars.filled_bars(ticks, k, rule, threshold, of_mid, TICK))


@given(streams(), st.sampled_from(range(4)), st.integers(0, 40), st.booleans())
def test_a_restored_builder_goes_on_with_the_same_bits(ticks, rule, cut, of_mid):
    whole, parts = Builder(rule, 150.0, of_mid=of_mid), Builder(rule, 150.0, of_mid=of_mid)
    whole.run(ticks)
    parts.run(ticks[:cut])
    parts = parts.moved_to_another()
    parts.run(ticks[cut:])
    assert parts.out == whole.out
    assert all(getattr(parts, a).tobytes() == getattr(whole, a).tobytes() for a in ("bar", "price", "flow", "when", "n", "base"))


@given(streams(symbols=2), st.sampled_from(range(1, 4)))
def test_bars_that_are_filled_do_not_depend_on_other_symbols(ticks, rule):
    together = Builder(rule, 150.0).run(ticks)
    for k in range(2):
        assert Builder(rule, 150.0).run([t for t in ticks if t.symbol == k])[k] == together[k]


def quote(seconds, bid, ask, symbol=0):
    return Tick(START + round(seconds * SECOND), symbol, QUOTE, bid, 100.0, ask, 100.0, NAN, NAN)


def trade(seconds, price, size, symbol=0, bid=99.99, ask=100.01):
    return Tick(START + round(seconds * SECOND), symbol, TRADE, bid, 100.0, ask, 100.0, price, size)


HOUR = [  # START is a whole second
    quote(0.1, 99.99, 100.01),
    trade(0.2, 100.01, 200.0),
    trade(0.4, 99.99, 50.0),
    quote(0.5, 100.01, 100.03),
    trade(0.6, 100.005, 10.0),
    trade(1.0, 100.03, 5.0, symbol=1),
]


def test_a_hand_computed_time_bar():
    (got,), other = Builder(bars.TIME).run(HOUR)
    assert other == []  # its bar is open
    # units of 0.0001: 100.01 = 1000100. Signs: 100.01 at the ask +, 99.99 at the bid -, 100.005 above the mid 100.00 of its row +
    assert got[:7] == (0, START, START + SECOND, 1_000_100, 1_000_100, 999_900, 1_000_050)
    assert got.volume == 260.0
    assert got.notional == pytest.approx(200 * 100.01 + 50 * 99.99 + 10 * 100.005)
    assert (got.trades, got.signed) == (3, 200.0 - 50.0 + 10.0)
    assert got.variance == pytest.approx((1e4 * math.log(100.02 / 100.00)) ** 2)


def test_a_hand_computed_time_bar_of_mids():
    (got,), _ = Builder(bars.TIME, of_mid=True).run(HOUR)
    assert got[3:7] == (1_000_000, 1_000_200, 1_000_000, 1_000_200)
    assert got.volume == 260.0


@pytest.mark.parametrize(
    ("rule", "threshold", "ends"),
    # trades of 200, 50 and 10 shares at 0.2, 0.4, 0.6 s: what the filling tick has too much is not carried over
    [(bars.TICKS, 2.0, [0.4]), (bars.TICKS, 1.0, [0.2, 0.4, 0.6]), (bars.SHARES, 60.0, [0.2, 0.6]), (bars.SHARES, 200.0, [0.2]), (bars.MONEY, 24_000.0, [0.4])],
)
def test_the_tick_that_fills_a_bar_is_its_last(rule, threshold, ends):
    got, _ = Builder(rule, threshold).run(HOUR)
    assert [b.end for b in got] == [START + round(t * SECOND) for t in ends]
    assert got[0].begin == START + SECOND // 10  # the first row of the symbol, not its first trade


def test_an_interval_without_a_tick_makes_no_bar_and_one_without_a_price_a_flat_bar():
    ticks = [trade(0.1, 100.0, 1.0), trade(0.2, 100.02, 1.0), quote(1.5, 99.99, 100.01, symbol=1), trade(3600.2, 101.0, 1.0), quote(3601.0, 100.99, 101.01)]
    got, other = Builder(bars.TIME).run(ticks)
    assert [(b.begin - START) // SECOND for b in got] == [0, 1, 3600]
    assert got[1][3:] == (1_000_200,) * 4 + (0.0,) * 5
    assert got[2].open == 1_010_000
    assert other == []  # never had a trade


def test_what_comes_before_the_first_price_of_a_lane_is_in_its_first_bar():
    ticks = [trade(0.1, 100.0, 7.0), quote(1.5, 99.99, 100.01), quote(2.5, 99.99, 100.01)]
    (got,), _ = Builder(bars.TIME, of_mid=True).run(ticks)
    assert got.number == 0
    assert (got.begin, got.volume, got.open) == (START + SECOND, 7.0, 1_000_000)


@pytest.mark.parametrize("price", [NAN, 0.0, -1.0, 0.5 * TICK / 100, math.inf, 1e300])
def test_a_trade_without_a_usable_price_enters_nothing(price):
    ticks = [trade(0.1, 100.0, 1.0), trade(0.2, price, 500.0), trade(1.2, 100.0, 1.0)]
    (got,), _ = Builder(bars.TIME).run(ticks)
    assert (got.volume, got.notional, got.trades, got.low, got.high) == (1.0, 100.0, 1, 1_000_000, 1_000_000)


def test_an_infinite_size_enters_nothing():
    (got,), _ = Builder(bars.TIME).run([trade(0.1, 100.0, 1.0), trade(0.2, 100.1, math.inf), trade(1.2, 100.0, 1.0)])
    assert (got.volume, got.high) == (1.0, 1_000_000)


def test_a_time_that_goes_backwards_stays_in_the_open_bar():
    got, _ = Builder(bars.TIME).run([trade(1.1, 100.0, 1.0), trade(0.1, 100.5, 1.0), trade(2.1, 100.0, 1.0)])
    assert [(b.begin - START, b.high) for b in got] == [(SECOND, 1_005_000)]


@pytest.mark.parametrize(("rule", "every"), [("time", 0.5), ("ticks", 3.0), ("volume", 900.0), ("dollar", 80_000.0)])
@pytest.mark.parametrize("price", ["trade", "mid"])
def test_rows_hold_the_columns_of_the_bars_that_closed_before_them(rule, every, price, monkeypatch):
    monkeypatch.setitem(features_registry._families, "liquidity", liquidity.FAMILY)
    columns = [c.name for c in liquidity.BAR_COLUMNS]
    conf = FeaturesConf([FamilyConf("liquidity", columns=columns)], throttle_ns=0, bars=BarsConf(rule, every, price))
    ticks = stream(500)
    running, seq, x = stage(conf), [], []
    for piece in cuts(tick_table(ticks), 137):
        out = running.step(piece)
        seq += out.segment.columns["seq"][out.lo : out.hi].tolist()
        x += out.segment.columns["x"][out.lo : out.hi].tolist()

    def closed(i):
        """Bars of the row's symbol that are closed at the row, by definition."""
        t, of_mid = ticks[i], price == "mid"
        if rule == "time":
            return naive_bars.time_bars(ticks[: i + 1], t.symbol, round(every * SECOND), of_mid, TICK)
        part = {"ticks": "trades", "volume": "volume", "dollar": "notional"}[rule]
        return naive_bars.filled_bars(ticks[: i + 1], t.symbol, part, every, of_mid, TICK)

    chosen = range(0, len(seq), 11)
    want = [liquidity_bars([feature_bars.Bar(*b[3:7], b.volume, b.notional) for b in closed(seq[j])]) for j in chosen]
    np.testing.assert_allclose([x[j] for j in chosen], want, rtol=1e-6, atol=1e-6)
    assert np.isfinite(want[-1]).all()
