"""The decide stages with control events between chunks, profit and loss, settings, and the chain of both."""

import math

import naive_decide as naive
import numpy as np
import pytest
from decide import START, due_rows, forecasts_table, market, predictions_of, predictions_table, ticks_table, windows
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import tickarrow.conf
from tickarrow.configs.costs import CostsConf
from tickarrow.configs.ensemble import EnsembleConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.configs.risk import RiskConf
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Act, Control, Ensemble, forecasts_schema, pnl
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.schemas import ControlKind, OrderState, Reason, Side

pytestmark = pytest.mark.pure
S = 1_000_000_000
HORIZONS = np.array([S, 5 * S], np.int64)
NAN = math.nan
FIX = "Correct it in conf/{} or on the command line."
CHEAP = CostsConf(per_share=0.005, minimum=0.02, max_share=0.01)
RISK = RiskConf(nav=100_000.0, vol_target=0.01, name_cap=0.01, gross_cap=0.015, profit_barrier=9.0, stop_barrier=9.0)  # barriers out of reach
PRIOR = np.array([[0.9, 0.8], [0.7, 0.9], [NAN, 0.5]])
ENSEMBLE = EnsembleConf(moments_tau_s=30.0, ic_tau_s=60.0, min_rows=2.0, min_outcomes=1.5, prior_s=500.0, settle_every_ns=S)


def make(n_symbols=2, simulate=False, risk=RISK, costs=CHEAP, orders=None, capacity=1024):
    tables = [Table(s, keep=True, capacity=capacity) for s in (schemas.DECISIONS, schemas.ORDERS, schemas.FILLS)]
    return Act(risk, costs, orders or OrdersConf(ttl_s=2.0), n_symbols, HORIZONS, np.full(n_symbols, 0.01), *tables, simulate)


class Driver:
    """One tick and at most one forecast a step, of symbol 0 unless told otherwise; bid 99.99, ask 100.01, a strong forecast."""

    def __init__(self, stage):
        self.stage, self.seconds, self.seq = stage, 0.0, 0

    def __call__(self, alpha=50.0, symbol=0, after=0.1, bid=99.99, ask=100.01):
        self.seconds += after
        ticks = [(START + round(self.seconds * S), symbol, True, bid, ask, 0)]
        f = np.array([[(alpha, 10.0, 0.1), (NAN, NAN, NAN)]])
        rows = forecasts_table(ticks, f)
        rows.seq[0] = self.seq
        self.seq += 1
        decisions = self.stage.step(rows, ticks_table(ticks, self.seq - 1))
        return Reason(decisions.reason[decisions.lo]).name

    def apply(self, kind, **fields):
        self.stage.apply(Control(kind=kind, ts=START + round(self.seconds * S), **fields))


def states(stage):
    return [(k, OrderState(s).name) for k, s in zip(stage._orders.column("key").tolist(), stage._orders.column("state").tolist())]


def test_the_life_of_an_order_with_a_partial_fill():
    stage = make()
    go = Driver(stage)
    assert go() == "ORDER"
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=OrderState.SUBMITTED, perm_id=77)
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=1.0, price=100.01, exec_id=5)
    assert go() == "ORDER_WORKING"
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=1.0, price=100.01, exec_id=5)  # repeated
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=3.0, price=100.02, exec_id=6)
    go.apply(ControlKind.COMMISSION, symbol=0, key=1, value=1.0, exec_id=6)
    go.apply(ControlKind.COMMISSION, symbol=0, key=1, value=1.0, exec_id=6)  # repeated
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=OrderState.FILLED, perm_id=77)
    assert go() == "AT_TARGET"
    s = stage.state[0]
    assert (s.position, s.commission) == (4.0, 1.0)
    assert s.cash == pytest.approx(-100.01 - 300.06)
    assert states(stage) == [(1, "INTENT"), (1, "SUBMITTED"), (1, "FILLED")]
    assert stage._orders.column("quantity").tolist() == [4.0] * 3
    assert stage._orders.column("perm_id").tolist() == [0, 77, 77]
    np.testing.assert_array_equal(stage._fills.column("commission"), [NAN, 1.0])
    assert stage._fills.column("quantity").tolist() == [1.0, 3.0]


def test_an_order_reported_as_filled_waits_for_its_executions():
    stage = make()
    go = Driver(stage)
    go()
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=OrderState.FILLED)
    assert go() == "ORDER_WORKING"
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=4.0, price=100.01, exec_id=5)
    assert go() == "AT_TARGET"


def test_an_order_reported_as_filled_whose_executions_never_come_is_let_go():
    go = Driver(make())
    go()
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=OrderState.FILLED)
    assert go(after=1.9) == "ORDER_WORKING"
    assert go(after=0.2) == "ORDER"


def test_an_order_may_be_sent_smaller_and_at_other_prices():
    stage = make()
    go = Driver(stage)
    go()
    assert (stage.state[0].ordered, stage.state[0].limit) == (4.0, 100.02)
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=OrderState.SUBMITTED, quantity=3.0, price=99.98)
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=1.0, price=99.98, exec_id=5)
    assert (stage.state[0].ordered, stage.state[0].quantity, stage.state[0].limit) == (3.0, 2.0, 99.98)
    assert go() == "ORDER_WORKING"
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=2.0, price=99.99, exec_id=6)
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=OrderState.FILLED, quantity=3.0, price=99.99)
    assert stage.state[0].working == 0
    assert stage._orders.column("quantity").tolist()[:2] == [4.0, 3.0]
    assert stage._orders.column("limit").tolist()[:2] == [100.02, 99.98]


def test_executions_of_an_order_that_was_sent_smaller_end_it_when_its_state_comes_last():
    stage = make()
    go = Driver(stage)
    go()
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=3.0, price=99.98, exec_id=5)
    assert stage.state[0].working == 1
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=OrderState.FILLED, quantity=3.0, price=99.98)
    assert stage.state[0].working == 0


def test_nothing_waits_for_the_parts_of_a_bracket():
    stage = make()
    go = Driver(stage)
    stop = 1 + 2 * schemas.PARTS
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=stop, side=-1, quantity=4.0, price=99.0, state=OrderState.SUBMITTED)
    assert go() == "ORDER"
    go.apply(ControlKind.EXECUTION, symbol=0, key=stop, side=-1, quantity=4.0, price=99.0, exec_id=7)
    assert stage.state[0].position == -4.0
    assert go() == "ORDER_WORKING"
    assert states(stage)[:2] == [(stop, "SUBMITTED"), (1, "INTENT")]


@pytest.mark.parametrize("state", [OrderState.CANCELLED, OrderState.REJECTED])
def test_an_ended_order_makes_room_for_another(state):
    go = Driver(make())
    assert [go(), go()] == ["ORDER", "ORDER_WORKING"]
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=state)
    assert go() == "ORDER"
    assert states(go.stage) == [(1, "INTENT"), (1, state.name), (2, "INTENT")]


def test_an_old_order_is_cancelled_once():
    go = Driver(make())
    assert [go(), go(after=1.9), go(after=0.2), go()] == ["ORDER", "ORDER_WORKING", "CANCEL", "ORDER_WORKING"]
    assert states(go.stage) == [(1, "INTENT"), (1, "CANCEL_INTENT")]


def test_a_late_execution_of_a_cancelled_order_still_counts():
    go = Driver(make())
    go()
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=1, state=OrderState.CANCELLED)
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=4.0, price=100.01, exec_id=9)
    assert go.stage.state[0].position == 4.0
    assert go() == "AT_TARGET"


def test_an_order_of_an_earlier_run_is_waited_for_and_its_position_is_taken_over():
    stage = make()
    go = Driver(stage)
    go.apply(ControlKind.KEYS, key=8)
    go.apply(ControlKind.EXECUTION, symbol=0, side=-1, quantity=3.0, price=100.0)
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=5, side=1, quantity=4.0, price=99.0, state=OrderState.SUBMITTED, perm_id=77)
    assert stage.state["position"].tolist() == [-3.0, 0.0]
    assert stage.state["cash"].tolist() == [300.0, 0.0]
    assert go() == "ORDER_WORKING"
    assert go(after=5.0) == "ORDER_WORKING"  # who reported it cancels it
    go.apply(ControlKind.EXECUTION, symbol=0, key=5, side=1, quantity=1.0, price=99.0, exec_id=9)
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=5, side=1, quantity=4.0, price=99.0, state=OrderState.CANCELLED, perm_id=77)
    assert stage.state["position"][0] == -2.0
    go()
    assert states(stage) == [(5, "SUBMITTED"), (5, "CANCELLED"), (8, "INTENT")]


def test_a_commission_may_come_before_its_execution():
    go = Driver(make())
    go()
    go.apply(ControlKind.COMMISSION, symbol=0, key=1, value=1.25, exec_id=9)
    assert go.stage.state[0].commission == 0.0
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=4.0, price=100.01, exec_id=9)
    assert go.stage.state[0].commission == 1.25
    assert go.stage._fills.column("commission").tolist() == [1.25]


def test_a_commission_finds_its_fill_in_an_older_segment():
    go = Driver(make(capacity=2))
    for i in range(5):
        go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=1.0, price=100.0, exec_id=10 + i)
    for i in (4, 0, 3, 1, 2):
        go.apply(ControlKind.COMMISSION, symbol=0, key=1, value=float(i), exec_id=10 + i)
    assert go.stage._fills.column("commission").tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_the_kill_switch_cancels_what_works_and_keeps_positions():
    stage = make()
    go = Driver(stage)
    go(symbol=1)
    go.apply(ControlKind.EXECUTION, symbol=1, key=1, side=Side.BUY, quantity=4.0, price=100.01, exec_id=1)
    go()
    go.apply(ControlKind.KILL)
    assert [(int(stage.intents.key[i]), int(stage.intents.state[i])) for i in range(stage.intents.lo, stage.intents.hi)] == [
        (2, OrderState.CANCEL_INTENT)
    ]
    assert [go(), go(symbol=1), go(symbol=1, after=100.0, alpha=0.0)] == ["KILLED"] * 3
    go.apply(ControlKind.ORDER_STATE, symbol=0, key=2, state=OrderState.CANCELLED)
    assert [go(), go(bid=NAN)] == ["KILLED", "KILLED"]
    assert states(stage) == [(1, "INTENT"), (2, "INTENT"), (2, "CANCEL_INTENT"), (2, "CANCELLED")]
    assert [s.position for s in stage.state] == [0.0, 4.0]


def test_the_cancels_of_the_kill_switch_are_also_in_the_next_intents():
    go = Driver(make())
    go()
    go.apply(ControlKind.KILL)
    go(symbol=1)
    assert go.stage.intents.view("state").tolist() == [OrderState.CANCEL_INTENT]
    go(symbol=1)
    assert len(go.stage.intents) == 0


def test_a_limit_changes_the_gross_cap():
    go = Driver(make())
    go.apply(ControlKind.LIMIT, value=0.0)
    assert go() == "GROSS_CAP"
    go.apply(ControlKind.LIMIT, value=0.002)  # 200 of currency: one share less than two at 100.01
    assert go() == "ORDER"
    assert go.stage.intents.quantity[go.stage.intents.lo] == 2.0
    with pytest.raises(ConfigError) as e:
        go.apply(ControlKind.LIMIT, value=NAN)
    assert str(e.value) == "limit: the gross cap is nan: expected a fraction of nav, zero or more."


def test_a_model_swap_is_named_in_the_decisions_and_a_timer_changes_nothing():
    go = Driver(make())
    go()
    go.apply(ControlKind.MODEL_SWAP, value=3.0)
    go.apply(ControlKind.TIMER)
    go()
    assert go.stage._decisions.column("model_set").tolist() == [0, 3]


def chain(seed, n, cuts, events=()):
    """Predictions -> decisions over the cuts, with control events at given ticks; returns all bytes that came out."""
    ticks = market(seed, n, 2)
    y = predictions_of(seed, due_rows(ticks), PRIOR.size, 0.05)
    forecasts = Table(forecasts_schema(2), capacity=512)
    stage, ensemble = make(simulate=not events), Ensemble(ENSEMBLE, 2, HORIZONS, PRIOR, forecasts)
    pending = sorted(events, key=lambda e: e[0])
    out = []
    for rows, window in windows(predictions_table(ticks, y), ticks_table(ticks), {*cuts, *[e[0] for e in events]}):
        while pending and pending[0][0] <= window.lo:
            stage.apply(pending.pop(0)[1])
        rows = ensemble.step(rows, window)
        out += [np.stack([rows.view(c) for c in ("alpha", "sigma", "ic")], axis=2).copy()]
        stage.step(rows, window)
    digest = schemas.column_digest([stage._decisions.column(c) for c in schemas.DECISIONS.names])
    return stage, ticks, np.concatenate(out), digest


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 150), max_size=8))
def test_the_chain_equals_its_twins_however_it_is_cut(seed, cuts):
    stage, ticks, forecasts, digest = chain(seed, 150, cuts)
    expected, _, _ = naive.act(RISK, CHEAP, OrdersConf(ttl_s=2.0), HORIZONS.tolist(), 0.01, 2, ticks, forecasts)
    assert [Reason(r).name for r in stage._decisions.column("reason")] == [d[6] for d in expected]
    assert digest == chain(seed, 150, ())[3]
    y = predictions_of(seed, due_rows(ticks), PRIOR.size, 0.05)
    twin, _ = naive.ensemble(ENSEMBLE, HORIZONS.tolist(), PRIOR.tolist(), 2, ticks, y)
    np.testing.assert_allclose(forecasts, twin, rtol=1e-6, atol=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 120), max_size=8))
def test_the_same_control_events_give_the_same_decisions(seed, cuts):
    rng = np.random.default_rng(seed)
    events = []
    for _ in range(25):
        kind = [ControlKind.EXECUTION, ControlKind.COMMISSION, ControlKind.ORDER_STATE, ControlKind.LIMIT][rng.integers(4)]
        events.append((int(rng.integers(120)), Control(
            kind=kind, ts=START, symbol=int(rng.integers(2)), key=int(rng.integers(1, 5)), side=int(rng.choice([-1, 1])),
            state=int(rng.choice([OrderState.FILLED, OrderState.CANCELLED])), quantity=float(rng.integers(1, 5)), price=50.0,
            value=float(rng.uniform(0, 0.02)), exec_id=int(rng.integers(1, 20)),
        )))  # fmt: skip
    if seed % 2:
        events.append((60, Control(kind=ControlKind.KILL, ts=START)))
    assert chain(seed, 120, cuts, events)[3] == chain(seed, 120, (), events)[3]


def test_a_restored_snapshot_knows_executions_and_commissions():
    first, second = make(), make()
    go = Driver(first)
    go()
    go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=1.0, price=100.0, exec_id=5)
    go.apply(ControlKind.COMMISSION, symbol=0, value=0.5, exec_id=6)
    second.restore(first.snapshot())
    for stage in (first, second):
        go.stage = stage
        go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=1.0, price=100.0, exec_id=5)
        go.apply(ControlKind.EXECUTION, symbol=0, key=1, side=Side.BUY, quantity=1.0, price=100.0, exec_id=6)
        go.apply(ControlKind.COMMISSION, symbol=0, value=0.25, exec_id=5)
        assert (stage.state[0].position, stage.state[0].commission) == (2.0, 0.75)
    for name, saved in first.snapshot().items():
        assert repr(saved.tolist()) == repr(second.snapshot()[name].tolist())


def fills(*rows):
    table = Table(schemas.FILLS, keep=True)
    for row in rows:
        i = table.reserve(1)
        for name, value in zip(("symbol", "side", "quantity", "price", "commission"), row):
            table.segment.columns[name][i] = value
        table.commit(1)
    return table


def test_profit_of_hand_computed_fills():
    # buy 10 at 100 and 10 at 110: average 105. Sell 30 at 120: 20 x 15 = 300 realised, short 10 at 120, mid 118: 20 unrealised.
    profit = pnl(fills((0, 1, 10, 100, 1.0), (0, 1, 10, 110, NAN), (1, -1, 5, 50, 0.5), (0, -1, 30, 120, 2.0)), np.array([118.0, NAN, NAN]))
    np.testing.assert_array_equal(profit.position, [-10, -5, 0])
    np.testing.assert_allclose(profit.realised, [300, 0, 0])
    np.testing.assert_allclose(profit.unrealised, [20, 0, 0])  # symbol 1 has no mid: valued at its last fill
    np.testing.assert_allclose(profit.commissions, [3, 0.5, 0])
    assert profit.commission == 3.5
    assert profit.total == pytest.approx(316.5)


FILL = st.tuples(st.integers(0, 1), st.sampled_from([-1, 1]), st.integers(1, 20), st.integers(90, 110), st.floats(0, 2))


@given(st.lists(FILL, max_size=30))
def test_profit_equals_cash_and_value_of_the_position(rows):
    mids = np.array([101.0, 99.0])
    profit = pnl(fills(*rows), mids)
    value = sum(side * quantity * (mids[symbol] - price) - commission for symbol, side, quantity, price, commission in rows)
    assert profit.total == pytest.approx(value, abs=1e-6)


def test_no_fills_no_profit():
    assert (pnl(fills(), np.array([NAN])).total, pnl(fills(), np.array([NAN])).commission) == (0.0, 0.0)


@pytest.mark.parametrize(("settings_", "text"), [
    ({"risk": RiskConf(nav=0.0)}, "risk.nav is 0.0: expected a positive number. " + FIX.format("risk")),
    ({"risk": RiskConf(gross_cap=-1.0)}, "risk.gross_cap is -1.0: expected zero or more. " + FIX.format("risk")),
    ({"costs": CostsConf(-0.1, 1.0, 0.01)}, "costs.per_share is -0.1: expected zero or more. " + FIX.format("costs")),
    ({"costs": CostsConf(0.1, 1.0, 0.01, multiplier=5.0)}, "costs.multiplier is 5.0: positions are sized in shares, expected 1. Choose a fee table of shares."),
    ({"orders": OrdersConf(ttl_s=NAN)}, "orders.ttl_s is nan: expected a positive number. " + FIX.format("orders")),
    ({"orders": OrdersConf(requests=5, reserved=5)}, "orders.reserved is 5 of 5 orders.requests: expected less, or no order would go out. "
     + FIX.format("orders")),
    ({"orders": OrdersConf(style="pasive")}, "orders.style is 'pasive': expected one of marketable, passive. " + FIX.format("orders")),
    ({"orders": OrdersConf(bracket_tif="IOC")}, "orders.bracket_tif is 'IOC': expected one of DAY, GTC. " + FIX.format("orders")),
    ({"orders": OrdersConf(style="passive", tif="IOC")},
     "orders.tif is IOC: a passive order waits at its side of the quote. Choose orders.tif=DAY or orders.style=marketable."),
    ({"orders": OrdersConf(stop_bp=10.0), "simulate": True},
     "orders: fills at the next quote are those of marketable orders. Choose orders=limit, or run it on a gateway (tickarrow run)."),
    ({"risk": RiskConf(pool_share=2.0)}, "risk.pool_share is 2.0: expected 0 (each horizon alone) to 1 (only the pooled drift)."),
])  # fmt: skip
def test_a_setting_out_of_range_is_named(settings_, text):
    with pytest.raises(ConfigError) as e:
        make(**settings_)
    assert str(e.value) == text


@pytest.mark.parametrize(("file", "schema"), [
    ("ensemble/default", EnsembleConf), ("costs/ibkr_fixed", CostsConf), ("costs/ibkr_tiered", CostsConf),
    ("costs/ibkr_futures", CostsConf), ("costs/ibkr_micros", CostsConf),
    ("risk/default", RiskConf), ("orders/limit", OrdersConf),
])  # fmt: skip
def test_the_shipped_values_fit_their_dataclass(file, schema):
    folder = next(iter(tickarrow.conf.__path__))
    loaded = OmegaConf.load(f"{folder}/{file}.yaml")
    assert loaded.pop("defaults") == ["schema"]
    assert set(loaded) == set(schema.__dataclass_fields__)
    OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), loaded))
