"""Act: each decision against the written-out rules, and what must hold in every state."""

import math
from dataclasses import replace
from decimal import Decimal

import naive_decide as naive
import numpy as np
import pytest
from decide import START, due_rows, forecasts_of, forecasts_table, market, ticks_table, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.configs.costs import CostsConf, RateConf, TierConf
from tickarrow.configs.limits import LimitsConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.configs.risk import RiskConf
from tickarrow.jit import act, act_order, limits
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Act, Control
from tickarrow.pipeline.schemas import ControlKind, Flag, Gate, Health, OrderState, Reason, Side

pytestmark = pytest.mark.pure
S = 1_000_000_000
HORIZONS = np.array([1 * S, 5 * S, 30 * S], np.int64)
NAN = math.nan
CHEAP = CostsConf(per_share=0.005, minimum=0.02, max_share=0.01)
FEW = RiskConf(nav=100_000.0, vol_target=0.01, name_cap=0.01, gross_cap=0.015, profit_barrier=9.0, stop_barrier=9.0)  # barriers are out of reach
SOON = OrdersConf(limit_offset_ticks=1, ttl_s=0.5)
COLUMNS = schemas.DECISIONS.names
NAMES = ["AAA", "BBB", "CCC", "DDD"]


def make(n_symbols=1, risk=FEW, costs=CHEAP, orders=SOON, horizons=HORIZONS, tick=0.01, simulate=True, sector=None, symbols=None):
    tables = [Table(s, keep=True, capacity=1024) for s in (schemas.DECISIONS, schemas.ORDERS, schemas.FILLS)]
    return Act(risk, costs, orders, n_symbols, horizons, np.full(n_symbols, tick), *tables, simulate, sector=sector, symbols=symbols)


def decide(stage, ticks, f, cuts=()):
    for rows, window in windows(forecasts_table(ticks, f), ticks_table(ticks), cuts):
        stage.step(rows, window)
    return stage


def table_of(table, *names):
    return list(zip(*[table.column(n).tolist() for n in names]))


def reasons(stage):
    return [Reason(r).name for r in stage._decisions.column("reason")]


def life(stage):
    return [(k, OrderState(s).name) for k, s in table_of(stage._orders, "key", "state")]


def stream(*rows):
    """(seconds, bid, ask, (alpha, sigma, ic) or None[, flags]) of one symbol and one horizon -> ticks, forecasts."""
    ticks, f = [], []
    for seconds, bid, ask, forecast, *flags in rows:
        ticks.append((START + round(seconds * S), 0, True, bid, ask, None if forecast is None else len(f), *flags))
        f += [] if forecast is None else [[forecast]]
    return ticks, np.array(f, float).reshape(-1, 1, 3)


def test_codes_equal_the_schemas():
    for state in OrderState:
        assert getattr(act_order, state.name) == state
    for reason in Reason:
        if reason <= Reason.BELOW_MINIMUM:
            assert getattr(act, reason.name) == reason
        elif reason < Reason.SELF_CROSS:
            assert getattr(limits, reason.name) == reason
    for gate in Gate:
        assert getattr(act, f"GATE_{gate.name}") == gate
    assert act.QUOTE == schemas.Kind.QUOTE
    assert act.HALTED_FLAG == schemas.Flag.HALTED


@pytest.mark.parametrize(("bid", "ask", "side", "tick", "expected"), [
    (10.05, 10.07, 1, 0.01, 10.08), (10.05, 10.07, -1, 0.01, 10.04), (0.28, 0.29, 1, 0.01, 0.3), (1.1, 1.15, -1, 0.05, 1.05),
    (100.0, 102.5, 1, 2.5, 105.0), (10.055, 10.065, 1, 0.01, 10.08), (0.01, 0.02, -1, 0.01, 0.01), (0.0001, 0.0002, 1, 0.0001, 0.0003),
])  # fmt: skip
def test_limit_is_one_tick_beyond_the_touch_as_the_nearest_double(bid, ask, side, tick, expected):
    grid = make(tick=tick).grid[0]
    assert act_order.limit_point(bid, ask, 1.0, side, grid) == expected


@given(st.integers(2, 5_000_000), st.integers(0, 100), st.integers(0, 3), st.sampled_from([1, -1]))
def test_limit_equals_its_decimal(cents, spread, offset, side):
    bid, ask = float(Decimal(cents) / 100), float(Decimal(cents + spread) / 100)
    if cents - offset >= 1:
        assert act_order.limit_point(bid, ask, float(offset), side, make().grid[0]) == naive.limit(bid, ask, side, offset, 0.01)


def test_pool_of_a_hand_computed_pair():
    # drifts 2 / 1 s and 5 / 5 s; precisions (0.1 x 1 / 4)^2 = 0.000625 and (0.2 x 5 / 10)^2 = 0.01:
    # (0.000625 x 2 + 0.01 x 1) / 0.010625 = 1.0588235; the third horizon is not known
    f = np.array([[2.0, 5.0, NAN], [4.0, 10.0, 9.0], [0.1, 0.2, 0.3]])
    assert act.pool_point(*f, HORIZONS) == pytest.approx(0.01125 / 0.010625, rel=1e-12)
    assert act.pool_point(f[0], f[1], np.zeros(3), HORIZONS) == 0.0


THREE = {"min_size": 3, "max_size": 3}


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0.1, 99), st.floats(0.001, 1)), **THREE), st.lists(st.booleans(), **THREE))
def test_pool_is_numpys_weighted_average_of_the_drifts(rows, known):
    alpha, sigma, ic = np.array(rows).T.copy()
    seconds, there = HORIZONS / 1e9, np.array(known)
    expected = np.average((alpha / seconds)[there], weights=((ic * seconds / sigma) ** 2)[there]) if there.any() else 0.0
    alpha[~there] = NAN
    assert act.pool_point(alpha, sigma, ic, HORIZONS) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_an_order_of_a_hand_computed_forecast_fills_at_the_next_quote():
    # sigma 10 bp over 5 s: a year has 1,179,360 horizons, annual volatility 1.08598 of which nav x 0.01 is 920.83 = 9 shares at 100.
    # Cost of a round trip: spread 2 bp, two commissions of 0.045 on 900, 1 bp. Barriers at 15 and -10 bp leave 13.07 bp of the edge of 20:
    # buy 9 with limit 100.02.
    ticks, f = stream((0, 99.99, 100.01, (20.0, 10.0, 0.1)), (0, 99.99, 100.01, None), (1, 99.99, 100.01, (20.0, 10.0, 0.1)))
    stage = decide(make(risk=replace(FEW, profit_barrier=1.5, stop_barrier=1.0), horizons=HORIZONS[1:2]), ticks, f)
    assert reasons(stage) == ["ORDER", "AT_TARGET"]
    edge, cost, horizon, up, down, target = table_of(stage._decisions, "edge", "cost", "horizon", "p_up", "p_down", "target")[0]
    assert (edge, horizon, target) == (20.0, 0, 9.0)
    assert cost == pytest.approx(3.0, rel=1e-9)
    assert stage._decisions.column("value")[0] == pytest.approx(10 * naive.barrier_value(2.0, 1.5, 1.0), rel=1e-12)
    # drift of two deviations over the horizon, barriers at +1.5 and -1; what is left ends between them
    assert up == pytest.approx(naive.barrier_within(2.0, 1.0, 1.5, 1.0, 1.0), rel=1e-12)
    assert down == pytest.approx(naive.barrier_within(-2.0, 1.0, 1.0, 1.5, 1.0), rel=1e-12)
    assert 0.6 < up < up + down < 1.0
    order = table_of(stage._orders, "seq", "ts", "symbol", "key", "side", "quantity", "limit", "perm_id", "state")
    assert order[0] == (0, START, 0, 1, Side.BUY, 9.0, 100.02, 0, OrderState.INTENT)
    assert order[1] == (1, START, 0, 1, Side.BUY, 9.0, 100.02, 0, OrderState.FILLED)
    fill = table_of(stage._fills, "seq", "ts", "symbol", "key", "side", "quantity", "price", "commission", "exec_id")
    assert fill == [(1, START, 0, 1, Side.BUY, 9.0, 100.01, 0.045, 1)]
    assert stage.state[0].position == 9.0
    assert stage.state[0].cash == pytest.approx(-900.09)


GO = (50.0, 10.0, 0.1)
FLAT = (0.0, 10.0, 0.1)
DOWN = (-50.0, 10.0, 0.1)
FREE = CostsConf(per_share=0.0, minimum=0.0, max_share=0.01, adv=50_000.0)


def test_a_fill_waits_for_a_marketable_quote_and_a_trade_row_is_none():
    late = [(0.2, NAN, 100.0, None), (0.3, 100.05, 100.0, None), (0.4, 99.99, 100.02, None)]
    ticks, f = stream((0, 99.99, 100.01, GO), (0.1, 99.99, 100.05, GO), *late)
    ticks.insert(1, (START + 1, 0, False, 99.99, 100.01, None))
    stage = decide(make(horizons=HORIZONS[:1]), ticks, f)
    assert reasons(stage) == ["ORDER", "ORDER_WORKING"]
    assert table_of(stage._fills, "seq", "price") == [(5, 100.02)]


def test_an_old_order_is_cancelled_and_another_may_follow():
    away = [(0.5, 100.1, 100.2, GO), (0.6, 100.1, 100.2, GO)]
    ticks, f = stream((0, 99.99, 100.01, GO), *away, (0.7, 99.9, 100.0, GO), (0.8, 99.9, 100.0, FLAT))
    stage = decide(make(horizons=HORIZONS[:1]), ticks, f)
    assert reasons(stage) == ["ORDER", "ORDER_WORKING", "CANCEL", "ORDER", "EDGE_BELOW_COST"]
    assert life(stage) == [(1, "INTENT"), (1, "CANCEL_INTENT"), (1, "CANCELLED"), (2, "INTENT"), (2, "FILLED")]


def test_a_position_is_closed_when_its_horizon_is_over_without_a_renewed_forecast():
    ticks, f = stream(
        (0, 99.99, 100.01, GO), (0.1, 99.99, 100.01, FLAT), (0.9, 99.99, 100.01, GO), (1.8, 99.99, 100.01, FLAT),
        (1.9, 99.99, 100.01, FLAT), (1.95, 99.98, 100.0, FLAT),
    )  # fmt: skip
    stage = decide(make(horizons=HORIZONS[:1]), ticks, f)
    # opened at 0 for 1 s, renewed at 0.9 s, over at 1.9 s
    assert reasons(stage) == ["ORDER", "EDGE_BELOW_COST", "AT_TARGET", "EDGE_BELOW_COST", "HORIZON_OVER", "EDGE_BELOW_COST"]
    assert stage._decisions.column("target").tolist() == [4.0, 4.0, 4.0, 4.0, 0.0, 0.0]
    assert table_of(stage._fills, "side", "quantity", "price") == [(1, 4.0, 100.01), (-1, 4.0, 99.98)]
    assert stage.state[0].position == 0.0


def test_without_barriers_a_forecast_is_worth_its_edge():
    stage = decide(make(risk=replace(FEW, profit_barrier=math.inf, stop_barrier=math.inf), horizons=HORIZONS[:1]), *stream((0, 99.99, 100.01, GO)))
    assert table_of(stage._decisions, "reason", "value", "p_up", "p_down") == [(Reason.ORDER, 50.0, 0.0, 0.0)]


def test_an_opposite_forecast_reverses_the_position_in_one_order():
    ticks, f = stream((0, 99.99, 100.01, GO), (0.1, 99.99, 100.01, (-50.0, 10.0, 0.1)), (0.2, 99.99, 100.01, None))
    stage = decide(make(horizons=HORIZONS[:1]), ticks, f)
    assert table_of(stage._orders, "side", "quantity", "state")[2] == (Side.SELL, 8.0, OrderState.INTENT)
    assert stage.state[0].position == -4.0


@pytest.mark.parametrize(("quote", "forecast", "expected"), [
    ((NAN, 100.0), GO, "NO_QUOTE"), ((99.0, NAN), GO, "NO_QUOTE"), ((NAN, NAN), GO, "NO_QUOTE"), ((0.0, 100.0), GO, "NO_QUOTE"),
    ((100.1, 100.0), GO, "CROSSED"), ((100.0, 100.0), (NAN, NAN, NAN), "WARMING_UP"), ((100.0, 100.0), (NAN, 10.0, 0.1), "WARMING_UP"),
    ((100.0, 100.0), (0.0, 0.0, 0.0), "WARMING_UP"), ((100.0, 100.0), (1.0, 10.0, 0.1), "EDGE_BELOW_COST"),
    ((100_000.0, 100_000.0), GO, "NAME_CAP"), ((100.0, 100.0), GO, "ORDER"),
])  # fmt: skip
def test_the_reason_of_a_first_decision(quote, forecast, expected):
    stage = decide(make(horizons=HORIZONS[:1]), *stream((0, *quote, forecast)))
    assert reasons(stage) == [expected]
    assert len(stage.intents) == (expected == "ORDER")


@pytest.mark.parametrize(("flags", "allow_delayed", "expected"), [
    (Flag.DELAYED, False, "NOT_LIVE"), (Flag.DELAYED, True, "ORDER"), (Flag.DELAYED | Flag.FROZEN, True, "NOT_LIVE"), (Flag.FROZEN, False, "NOT_LIVE"),
    (Flag.UNCERTAIN, False, "NOT_LIVE"), (Flag.STALE, False, "NOT_LIVE"), (Flag.HALTED, False, "HALTED"), (Flag.HALTED | Flag.STALE, False, "HALTED"),
    (Flag.GAP | Flag.PRE_OPEN | Flag.AUTO_EXECUTE, False, "ORDER"),
])  # fmt: skip
def test_a_flagged_quote_is_traded_on_only_if_it_is_live(flags, allow_delayed, expected):
    stage = make(risk=replace(FEW, allow_delayed=allow_delayed), horizons=HORIZONS[:1])
    assert reasons(decide(stage, *stream((0, 99.99, 100.01, GO, flags)))) == [expected]
    assert len(stage.intents) == (expected == "ORDER")


@pytest.mark.parametrize("symbol", [0, -1])
@pytest.mark.parametrize("health", list(Health))
def test_no_order_goes_out_while_the_data_or_the_link_is_not_live(symbol, health):
    stage = make(2, horizons=HORIZONS[:1])
    stage.apply(Control(kind=ControlKind.HEALTH, symbol=symbol, value=health))
    ticks = [(START, 0, True, 99.99, 100.01, 0), (START + S, 1, True, 99.99, 100.01, 1)]
    decide(stage, ticks, np.array([[GO], [GO]]))
    dead = health != Health.LIVE
    assert reasons(stage) == ["NOT_LIVE" if dead else "ORDER", "NOT_LIVE" if dead and symbol < 0 else "ORDER"]
    stage.apply(Control(kind=ControlKind.HEALTH, symbol=symbol, value=Health.LIVE))
    decide(stage, *stream((2, 99.99, 100.01, GO)))
    assert reasons(stage)[2] == ("ORDER" if dead else "AT_TARGET")


def test_an_old_order_is_cancelled_on_dead_data_too():
    stage = decide(make(horizons=HORIZONS[:1]), *stream((0, 99.99, 100.01, GO)))
    stage.apply(Control(kind=ControlKind.HEALTH, symbol=-1, value=Health.LOST))
    decide(stage, *stream((0.6, 100.1, 100.2, GO, Flag.HALTED), (0.7, 100.1, 100.2, GO, Flag.HALTED), (0.8, 100.1, 100.2, GO)))
    assert reasons(stage) == ["ORDER", "CANCEL", "HALTED", "NOT_LIVE"]
    assert life(stage) == [(1, "INTENT"), (1, "CANCEL_INTENT"), (1, "CANCELLED")]


def test_the_gross_cap_is_shared_and_frees_itself():
    # cap 1,000: symbol 0 takes 6 shares at 100 (its own cap), symbol 1 gets the other 4, symbol 2 nothing until symbol 0 is closed
    risk = RiskConf(nav=100_000.0, vol_target=1.0, name_cap=0.006, gross_cap=0.01)
    quote = (100.0, 100.0)
    ticks = [(START + i, i, True, *quote, i) for i in range(3)] + [(START + 5, 0, True, *quote, None), (START + 2 * S, 0, True, *quote, 3)]
    ticks += [(START + 2 * S + 1, 0, True, *quote, None), (START + 3 * S, 2, True, *quote, 4)]
    f = np.array([[(500.0, 10.0, 0.1)]] * 3 + [[FLAT]] + [[(500.0, 10.0, 0.1)]])
    stage = decide(make(3, risk, horizons=HORIZONS[:1]), ticks, f)
    assert reasons(stage) == ["ORDER", "ORDER", "GROSS_CAP", "HORIZON_OVER", "ORDER"]
    assert [q for q, s in table_of(stage._orders, "quantity", "state") if s == OrderState.INTENT] == [6.0, 4.0, 6.0, 6.0]


def random_stage(seed, n, n_symbols, simulate=True, scale=25.0, costs=CHEAP, risk=FEW):
    ticks, sector = market(seed, n, n_symbols), np.array([0, 1, 0, -1][:n_symbols], np.int32)
    return ticks, forecasts_of(seed, due_rows(ticks), 3, scale=scale), make(n_symbols, risk, costs, simulate=simulate, sector=sector, symbols=NAMES[:n_symbols])


EVERY_FEE = CostsConf(
    per_share=0.0035, minimum=0.35, max_share=0.01, tiers=[TierConf(300.0, 0.002)], month_volume=290.0, clearing=0.0002, remove=0.003,
    nyse_pass_through=0.000175, finra_pass_through=0.000563, regulatory=[RateConf("2024-01-01", 0.000072)], taf=[RateConf("2024-01-01", 0.000195, 9.79)],
    sec=[RateConf("2024-01-01", 0.0000206)], effective=0.8, impact_eta=0.67, adv=50_000.0,
)  # fmt: skip


CAPPED = replace(
    FEW, kelly=3e-6, participation=1.7e-4, net_cap=0.0111, sector_cap=0.006, throttle_from=5e-6, throttle_to=3e-5, least_value=310.0,
)  # fmt: skip


# Of a name of 1,000 at most; START is 17:13:20 in New York.
LIMITED = replace(FEW, name_cap=0.02, limits=LimitsConf(
    order_shares=22.0, order_value=1100.0, position_shares=15.0, position_value=900.0, gross_value=1300.0, net_value=1000.0, per_second=1, per_minute=4,
    collar_quote=5.0, collar_trade=15.0, quote_age_s=20.0, restricted=["DDD"], close_only=["CCC"], restart=["17:14", "17:15"], daily_loss=1.0,
))  # fmt: skip


@given(
    st.integers(0, 2**32), st.integers(1, 150), st.integers(1, 4), st.sampled_from([8.0, 25.0, 100.0]), st.sampled_from([CHEAP, EVERY_FEE]),
    st.sampled_from([FEW, CAPPED, LIMITED]),
)  # fmt: skip
def test_decisions_equal_the_written_out_rules(seed, n, n_symbols, scale, costs, risk):
    ticks, f, stage = random_stage(seed, n, n_symbols, scale=scale, costs=costs, risk=risk)
    decide(stage, ticks, f)
    decisions, orders, fills = naive.act(risk, costs, SOON, HORIZONS.tolist(), 0.01, n_symbols, ticks, f, [0, 1, 0, None], NAMES)
    assert reasons(stage) == [d[6] for d in decisions]
    got = table_of(stage._decisions, "edge", "cost", "horizon", "p_up", "p_down", "target", "value")
    expected = np.array([(*d[:6], d[7]) for d in decisions]).reshape(-1, 7)
    np.testing.assert_allclose(np.array(got).reshape(-1, 7), expected, rtol=1e-9, atol=1e-12)
    named = [(*o[:6], OrderState(o[6]).name) for o in table_of(stage._orders, "ts", "symbol", "key", "side", "quantity", "limit", "state")]
    assert named == orders
    np.testing.assert_allclose(
        np.array(table_of(stage._fills, "ts", "symbol", "key", "side", "quantity", "price", "commission")).reshape(-1, 7),
        np.array(fills, float).reshape(-1, 7), rtol=1e-12,
    )  # fmt: skip


FIRST_NOT_PASSED = {
    "KILLED": Gate.ALIVE, "HALTED": Gate.TRADING, "NOT_LIVE": Gate.LIVE, "NO_QUOTE": Gate.QUOTED, "CROSSED": Gate.QUOTED, "ORDER_WORKING": Gate.FREE,
    "WARMING_UP": Gate.FORECAST, "DRAWDOWN": Gate.DRAWDOWN, "PARTICIPATION_CAP": Gate.VOLUME, "EDGE_BELOW_COST": Gate.EDGE, "NAME_CAP": Gate.SIZE,
    "AT_TARGET": Gate.BAND, "GROSS_CAP": Gate.BOOK, "NET_CAP": Gate.BOOK, "SECTOR_CAP": Gate.BOOK, "BELOW_MINIMUM": Gate.VALUE, "ORDER": None,
}  # fmt: skip


@given(st.integers(0, 2**32), st.sampled_from([FEW, CAPPED, replace(CAPPED, participation=1e-5)]), st.booleans())
def test_the_reason_is_the_first_gate_that_did_not_pass(seed, risk, killed):
    ticks, f, stage = random_stage(seed, 100, 4, scale=100.0, costs=EVERY_FEE, risk=risk)
    if killed:
        stage.apply(Control(kind=ControlKind.KILL))
    decide(stage, ticks, f)
    for reason, verdict in zip(reasons(stage), stage._decisions.column("verdict").tolist()):
        missing = [g for g in Gate if not g & verdict]
        if reason == "CANCEL":  # an order that works is judged first
            assert Gate.FREE in missing
        elif reason != "HORIZON_OVER":  # whatever kept it from being renewed
            assert (missing[0] if missing else None) == FIRST_NOT_PASSED[reason]


ELSEWHERE = {"OLD_QUOTE", "SESSION_WINDOW", "SELF_CROSS", "UNSETTLED", "REFUSED"}  # they have tests of their own


def test_the_random_streams_reach_every_reason_but_some():
    seen = set()
    for seed in range(40):
        for risk in (FEW, CAPPED, LIMITED):
            ticks, f, stage = random_stage(seed, 150, 4, scale=100.0, risk=risk)
            seen |= set(reasons(decide(stage, ticks, f)))
    assert seen == {r.name for r in Reason} - {"KILLED", "PARTICIPATION_CAP", *ELSEWHERE}


@pytest.mark.parametrize(("risk", "expected", "quantity"), [
    ({}, "ORDER", 4.0), ({"participation": 1e-5}, "PARTICIPATION_CAP", 0.0), ({"participation": 6e-5}, "ORDER", 3.0),
    ({"kelly": 1e-7}, "NAME_CAP", 0.0), ({"kelly": 6e-7}, "ORDER", 3.0), ({"least_value": 400.1}, "BELOW_MINIMUM", 0.0), ({"least_value": 400.0}, "ORDER", 4.0),
])  # fmt: skip
def test_what_limits_a_first_order(risk, expected, quantity):
    # the volatility target lets 4 shares at 100; 50,000 shares a day: 0.5 and 3 of them; Kelly: 6e-7 x 1e4 x 50 / 100 = 0.003 of nav
    stage = make(risk=replace(FEW, **risk), costs=FREE, horizons=HORIZONS[:1])
    assert reasons(decide(stage, *stream((0, 100.0, 100.0, GO)))) == [expected]
    assert stage._decisions.column("target").tolist() == [quantity]




@pytest.mark.parametrize(("risk", "sector", "second", "expected", "target"), [
    ({"net_cap": 0.006}, None, GO, "ORDER", 2.0), ({"net_cap": 0.004}, None, GO, "NET_CAP", 0.0), ({"net_cap": 0.004}, None, DOWN, "ORDER", -4.0),
    ({"sector_cap": 0.004}, [0, 0], DOWN, "SECTOR_CAP", 0.0), ({"sector_cap": 0.0055}, [0, 0], DOWN, "ORDER", -1.0),
    ({"sector_cap": 0.004}, [0, 1], GO, "ORDER", 4.0), ({"sector_cap": 0.004}, [-1, -1], GO, "ORDER", 4.0),
    ({"gross_cap": 0.004, "net_cap": 0.004}, None, GO, "GROSS_CAP", 0.0),
])  # fmt: skip
def test_the_second_symbol_gets_what_the_first_leaves_of_a_cap(risk, sector, second, expected, target):
    # the first takes 4 shares at 100 of a nav of 100,000: 0.004
    stage = make(2, replace(FEW, **risk), horizons=HORIZONS[:1], sector=None if sector is None else np.array(sector, np.int32))
    ticks = [(START + i, i, True, 100.0, 100.0, i) for i in range(2)]
    assert reasons(decide(stage, ticks, np.array([[GO], [second]]))) == ["ORDER", expected]
    assert stage._decisions.column("target").tolist() == [4.0, target]


def test_a_drawdown_makes_positions_smaller_and_then_none():
    # symbol 1 holds 100 shares from 100; nav 100,000 and no gain before: at 60 the drawdown is 4 %, at 40 6 %, at 20 8 %
    ticks = []
    for i, price in enumerate([60.0, 40.0, 20.0]):
        ticks += [(START + i * S, 1, True, price, price, None), (START + i * S + 1, 0, True, 100.0, 100.0, i), (START + i * S + 2, 0, True, 100.0, 100.0, None)]
    stage = make(2, replace(FEW, gross_cap=1.0, throttle_from=0.05, throttle_to=0.07), FREE, horizons=HORIZONS[:1])
    stage.apply(Control(kind=ControlKind.EXECUTION, symbol=1, side=1, quantity=100.0, price=100.0, exec_id=1))
    stage.state["hold_until"][1] = 2**62
    decide(stage, ticks, np.array([[GO], [DOWN], [GO]]))
    # half of the size at 6 %; at 8 % the short position is kept until its horizon is over
    assert reasons(stage) == ["ORDER", "ORDER", "HORIZON_OVER"]
    assert stage._decisions.column("target").tolist() == [4.0, -2.0, 0.0]


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 120), st.lists(st.integers(0, 120), max_size=20))
def test_bits_do_not_depend_on_how_the_stream_is_cut(seed, n, cuts):
    digests = []
    for pieces in ((), cuts, range(n)):
        ticks, f, stage = random_stage(seed, n, 3)
        decide(stage, ticks, f, pieces)
        tables = (stage._decisions, stage._orders, stage._fills)
        digests.append([schemas.column_digest([t.column(c) for c in t.schema.names]) for t in tables])
    assert digests[0] == digests[1] == digests[2]


def gross(stage):
    """Value the book can reach, from its definition."""
    return sum(
        max(abs(s.position), abs(s.position + float(s.side) * s.quantity) if s.working else 0.0) * (0.0 if math.isnan(s.mark) else s.mark)
        for s in stage.state
    )


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.booleans())
def test_caps_hold_and_each_symbol_has_one_working_order(seed, simulate):
    """After every tick: an order never lifts the book above its cap, a target never passes the name cap, keys run on, lives are whole."""
    ticks, f, stage = random_stage(seed, 120, 4, simulate, scale=100.0)
    rng = np.random.default_rng(seed)
    working, executions = {}, 0
    for rows, window in windows(forecasts_table(ticks, f), ticks_table(ticks), range(len(ticks))):
        if not simulate:
            for symbol, key in list(working.items()):
                if rng.random() < 0.5:  # a partial or whole execution, or the end of the order
                    s = stage.state[symbol]
                    executions += 1
                    q = float(rng.integers(1, int(s.quantity) + 1))
                    event = Control(ts=int(window.ts[window.lo]), symbol=symbol, key=key, side=int(s.side), exec_id=executions)
                    if rng.random() < 0.7:
                        event.kind, event.quantity, event.price = ControlKind.EXECUTION, q, float(s.limit)
                    else:
                        event.kind, event.state = ControlKind.ORDER_STATE, OrderState.CANCELLED
                    stage.apply(event)
                    if not s.working:
                        del working[symbol]
        decisions = stage.step(rows, window)
        for symbol, key, state, quantity in zip(*[stage.intents.view(c).tolist() for c in ("symbol", "key", "state", "quantity")]):
            if state == OrderState.INTENT:
                assert symbol not in working
                assert quantity > 0
                assert quantity == round(quantity)
                working[symbol] = key
            elif state in (OrderState.FILLED, OrderState.CANCELLED):
                assert working.get(symbol, key) == key
                working.pop(symbol, None)
        for symbol, target, reason in zip(*[decisions.view(c).tolist() for c in ("symbol", "target", "reason")]):
            assert reason in list(Reason)
            if reason == Reason.ORDER:
                s = stage.state[symbol]
                assert abs(target) * s.mark <= FEW.name_cap * FEW.nav * (1 + 1e-12)
                before = gross(stage) - max(abs(s.position), abs(target)) * s.mark + abs(s.position) * s.mark
                assert gross(stage) <= max(FEW.gross_cap * FEW.nav, before) * (1 + 1e-12)
        assert {i for i, s in enumerate(stage.state) if s.working} == set(working)


def test_a_restored_snapshot_continues_with_the_same_bits():
    ticks, f, first = random_stage(4, 160, 3)
    second = make(3)
    (a, b), (c, d) = windows(forecasts_table(ticks, f), ticks_table(ticks), [80])
    first.step(a, b)
    saved = {k: np.array(v.tolist(), v.dtype) for k, v in first.snapshot().items()}
    second.restore(saved)
    one, two = first.step(c, d), second.step(c, d)
    assert len(one) > 20
    assert schemas.column_digest([one.view(c) for c in COLUMNS]) == schemas.column_digest([two.view(c) for c in COLUMNS])
    assert first.intents.copy() == second.intents.copy()


def test_an_empty_batch_changes_nothing():
    ticks, f, stage = random_stage(4, 60, 3)
    rows, table = forecasts_table(ticks, f), ticks_table(ticks)
    stage.step(rows, table)
    before = stage.snapshot()
    rows.lo, table.lo = rows.hi, table.hi
    assert len(stage.step(rows, table)) == 0
    assert len(stage.intents) == 0
    before["book"]["events"] = 0
    for name, saved in stage.snapshot().items():
        assert saved.tobytes() == before[name].tobytes()
