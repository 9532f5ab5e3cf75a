"""Pre-trade limits: each at its edge, when what may be sent, the daily loss stop, and that no stream of orders gets past them."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from decide import START, due_rows, forecasts_of, forecasts_table, market, ticks_table, windows
from hypothesis import given
from hypothesis import strategies as st
from naive_limits import restarting
from test_act import DOWN, FEW, FREE, GO, HORIZONS, NAMES, S, decide, life, make, random_stage, reasons, stream, table_of

from tickarrow.configs.limits import LimitsConf
from tickarrow.jit import limits
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.limits import TEXTS, Limits, lines
from tickarrow.pipeline.schemas import ControlKind, Gate, OrderState, Reason

pytestmark = pytest.mark.pure
NAN = math.nan
MINUTE = 60 * S


def asked(conf, side=1, quantity=10.0, price=100.0, position=0.0, gross=0.0, net=0.0, bid=100.0, ask=100.0, trade=NAN, age=0, listed=0, closed=0, stopped=0):
    """Name of the reason for an order of 10 shares at 100, with what differs."""
    params = Limits(conf, ["AAA"]).params[0]
    code = limits.limits_point(params, side, quantity, price, position, gross, net, bid, ask, trade, age, listed, closed, stopped)
    return Reason(code).name


@pytest.mark.parametrize(("conf", "order", "reason"), [
    # each limit at its edge, and the next value beyond it
    ({"order_shares": 10.0}, {}, "ORDER"), ({"order_shares": 9.5}, {}, "ORDER_SIZE"),
    ({"order_value": 1000.0}, {}, "ORDER"), ({"order_value": 999.0}, {}, "ORDER_VALUE"), ({"order_value": 1000.0}, {"price": 100.01}, "ORDER_VALUE"),
    # 5 held and 10 bought: 15 shares, at a mid of 100 a value of 1,500; sold: short 5 of value 500
    ({"position_shares": 15.0}, {"position": 5.0}, "ORDER"), ({"position_shares": 14.0}, {"position": 5.0}, "POSITION_LIMIT"),
    ({"position_shares": 5.0}, {"position": 5.0, "side": -1}, "ORDER"), ({"position_shares": 4.0}, {"position": 5.0, "side": -1}, "POSITION_LIMIT"),
    ({"position_value": 1500.0}, {"position": 5.0}, "ORDER"), ({"position_value": 1499.0}, {"position": 5.0}, "POSITION_LIMIT"),
    # others are worth 4,000; 3,000 of them net on this side, or against it
    ({"gross_value": 5000.0}, {"gross": 4000.0}, "ORDER"), ({"gross_value": 4999.0}, {"gross": 4000.0}, "GROSS_LIMIT"),
    ({"net_value": 4000.0}, {"gross": 4000.0, "net": 3000.0}, "ORDER"), ({"net_value": 3999.0}, {"gross": 4000.0, "net": 3000.0}, "NET_LIMIT"),
    ({"net_value": 1.0}, {"gross": 4000.0, "net": -3000.0}, "ORDER"),
    # mid 100: 50 bp are 0.5; a limit on the safe side of it is never too far
    ({"collar_quote": 50.0}, {"price": 100.5}, "ORDER"), ({"collar_quote": 50.0}, {"price": 100.51}, "PRICE_COLLAR"),
    ({"collar_quote": 50.0}, {"price": 99.5, "side": -1}, "ORDER"), ({"collar_quote": 50.0}, {"price": 99.49, "side": -1}, "PRICE_COLLAR"),
    ({"collar_quote": 50.0}, {"price": 80.0}, "ORDER"), ({"collar_quote": 50.0}, {"price": 120.0, "side": -1}, "ORDER"),
    # bid 98 and ask 102: the touch itself is 200 bp from the mid
    ({"collar_quote": 199.0}, {"bid": 98.0, "ask": 102.0, "price": 102.0}, "PRICE_COLLAR"),
    ({"collar_trade": 100.0}, {"trade": 100.0, "price": 101.0}, "ORDER"), ({"collar_trade": 100.0}, {"trade": 100.0, "price": 101.01}, "PRICE_COLLAR"),
    ({"collar_trade": 100.0}, {"trade": 100.0, "price": 98.99, "side": -1}, "PRICE_COLLAR"), ({"collar_trade": 100.0}, {"price": 150.0}, "ORDER"),
    ({"quote_age_s": 2.0}, {"age": 2 * S}, "ORDER"), ({"quote_age_s": 2.0}, {"age": 2 * S + 1}, "OLD_QUOTE"),
    ({}, {"listed": limits.CLOSE_ONLY}, "RESTRICTED"), ({}, {"listed": limits.NOTHING}, "RESTRICTED"),
    ({}, {"closed": limits.CLOSE_ONLY}, "SESSION_WINDOW"), ({}, {"closed": limits.NOTHING}, "RESTART_WINDOW"), ({}, {"stopped": 1}, "LOSS_STOP"),
    # what is not a number is refused
    ({}, {"gross": NAN}, "GROSS_LIMIT"), ({}, {"bid": NAN}, "PRICE_COLLAR"), ({}, {"quantity": NAN}, "ORDER_SIZE"),
])  # fmt: skip
def test_each_limit_at_its_edge(conf, order, reason):
    assert asked(LimitsConf(**conf), **order) == reason


TIGHT = LimitsConf(
    order_shares=1.0, order_value=1.0, position_shares=1.0, position_value=1.0, gross_value=1.0, net_value=1.0, collar_quote=50.0, quote_age_s=2.0
)  # fmt: skip


@pytest.mark.parametrize(("order", "reason"), [
    ({}, "ORDER"), ({"quantity": 50.0}, "ORDER"), ({"quantity": 50.1}, "ORDER_SIZE"), ({"side": 1}, "ORDER_SIZE"),
    ({"stopped": 1}, "ORDER"), ({"closed": limits.CLOSE_ONLY}, "ORDER"), ({"listed": limits.CLOSE_ONLY}, "ORDER"), ({"gross": 1e9, "net": 1e9}, "ORDER"),
    ({"listed": limits.NOTHING}, "RESTRICTED"), ({"closed": limits.NOTHING}, "RESTART_WINDOW"), ({"price": 99.0}, "PRICE_COLLAR"),
    ({"age": 3 * S}, "OLD_QUOTE"),
])  # fmt: skip
def test_what_reduces_a_position_is_held_by_few_limits(order, reason):
    # 50 held, 10 sold, with every limit of size broken; 50.1 sold would turn it round
    assert asked(TIGHT, **{"side": -1, "position": 50.0} | order) == reason


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(0, 4), st.integers(0, 9))
def test_no_second_and_no_minute_has_more_orders(gaps, per_second, per_minute):
    lim = Limits(LimitsConf(per_second=per_second, per_minute=per_minute), ["AAA"])
    now, sent = 0, []
    for gap in gaps:
        now += gap * S // 4
        seconds, minute = (sum(t > now - length for t in sent) for length in (S, MINUTE))
        free = not (per_second and seconds >= per_second) and not (per_minute and minute >= per_minute)
        assert limits.rate_point(lim.book[0], lim.times, lim.params[0], now) == free
        if free:
            limits.count_point(lim.book[0], lim.times, now)
            sent.append(now)


def moment(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


def codes(conf, *moments):
    lim, known = Limits(conf, []), [moment(m) for m in moments]
    lim.prepare(min(known), max(known))
    return [lim.closed_at(at) for at in known]


def test_nothing_is_opened_out_of_hours_and_near_their_ends():
    # New York, winter: 14:30 to 21:00 UTC; on 2026-11-27, the day after Thanksgiving, it closes at 18:00
    conf = LimitsConf(calendar="XNYS", first_minutes=1.0, last_minutes=5.0)
    free = codes(conf, "2026-01-05T14:30:59", "2026-01-05T14:31:00", "2026-01-05T20:54:59", "2026-01-05T20:55:00", "2026-01-06T03:00:00")
    assert free == [limits.CLOSE_ONLY, limits.FREE, limits.FREE, limits.CLOSE_ONLY, limits.CLOSE_ONLY]
    assert codes(conf, "2026-11-26T16:00:00", "2026-11-27T17:54:59", "2026-11-27T17:55:00") == [limits.CLOSE_ONLY, limits.FREE, limits.CLOSE_ONLY]
    assert codes(LimitsConf(), "2026-01-03T03:00:00") == [limits.FREE]


def test_nothing_at_all_is_sent_while_the_gateway_restarts():
    # 23:45 to 00:45 in New York is 04:45 to 05:45 UTC in winter and an hour earlier in summer, which begins on 2026-03-08
    conf = LimitsConf(restart=["23:45", "00:45"])
    winter = codes(conf, "2026-01-05T04:44:59", "2026-01-05T04:45:00", "2026-01-05T05:44:59", "2026-01-05T05:45:00")
    assert winter == [limits.FREE, limits.NOTHING, limits.NOTHING, limits.FREE]
    assert codes(conf, "2026-03-08T04:50:00", "2026-03-09T03:50:00", "2026-03-09T04:50:00") == [limits.NOTHING, limits.NOTHING, limits.FREE]


@given(st.integers(moment("2026-01-01T00:00:00") // S, moment("2026-12-31T00:00:00") // S), st.sampled_from([["23:45", "00:45"], ["09:00", "09:20"]]))
def test_restart_windows_equal_the_local_clock(second, restart):
    conf = LimitsConf(restart=restart, restart_zone="Europe/Berlin")
    lim = Limits(conf, [])
    lim.prepare(second * S, second * S)
    assert lim.closed_at(second * S) == (limits.NOTHING if restarting(conf, second * S) else limits.FREE)


def limited(risk=FEW, **conf):
    return make(risk=replace(risk, limits=LimitsConf(**conf)), costs=FREE, horizons=HORIZONS[:1], symbols=NAMES[:1])


def test_a_refused_decision_sends_nothing_and_says_why():
    stage = decide(limited(order_shares=3.0), *stream((0, 100.0, 100.0, GO)))
    assert reasons(stage) == ["ORDER_SIZE"]  # 4 shares were wanted
    assert table_of(stage._decisions, "target") == [(0.0,)]
    assert not Gate.LIMITS & stage._decisions.column("verdict")[0]
    assert Gate.VALUE & stage._decisions.column("verdict")[0]
    assert life(stage) == []


def test_a_trade_on_an_old_quote_does_not_trade():
    ticks, f = stream((0, 100.0, 100.0, None), (3, 100.0, 100.0, GO))
    ticks[1] = (*ticks[1][:2], False, *ticks[1][3:])
    assert reasons(decide(limited(quote_age_s=2.0), ticks, f)) == ["OLD_QUOTE"]
    assert reasons(decide(limited(quote_age_s=3.0), ticks, f)) == ["ORDER"]


def test_a_position_is_closed_at_the_end_of_a_session_and_none_is_opened():
    # the session closes at 21:00 UTC, five minutes before nothing is opened any more
    at = (moment("2026-01-05T20:54:59") - START) / S
    stage = limited(calendar="XNYS", last_minutes=5.0)
    decide(stage, *stream((at, 100.0, 100.0, GO), (at, 100.0, 100.0, None), (at + 2, 100.0, 100.0, (0.0, 10.0, 0.1)), (at + 2, 100.0, 100.0, None),
                          (at + 3, 100.0, 100.0, GO)))  # fmt: skip
    assert reasons(stage) == ["ORDER", "HORIZON_OVER", "SESSION_WINDOW"]
    assert stage.state[0].position == 0.0


HOLD = (0.0, 10.0, 0.1)
FALL = ((0, 100.0, 100.0, GO), (0.1, 100.0, 100.0, None), (0.2, 95.0, 95.0, GO))


def test_the_daily_loss_stop_by_hand():
    # 4 shares from 100: at 95 the loss is 20, the stop. A contrary forecast closes them and does not go short, nothing is opened then, at a
    # better price neither; the day ends at midnight UTC. A loss of 19.99 is not enough.
    later = ((0.3, 95.0, 95.0, DOWN), (0.4, 95.0, 95.0, None), (0.5, 120.0, 120.0, GO), (86_400, 120.0, 120.0, GO))
    stage = decide(limited(daily_loss=20.0), *stream(*FALL, *later))
    assert reasons(stage) == ["ORDER", "AT_TARGET", "NOT_TURNED", "LOSS_STOP", "ORDER"]
    assert table_of(stage._decisions, "target") == [(4.0,), (4.0,), (0.0,), (0.0,), (3.0,)]
    stage = decide(limited(daily_loss=20.01), *stream(*FALL, *later))
    assert reasons(stage)[2] == "ORDER"


def test_the_loss_of_a_day_counts_from_its_begin_and_with_commissions():
    # 5 shares from 100: 20 lost at 96 before midnight, and 25 after it at 91, which is less than the stop of 26; one of commission makes it
    day = 86_400 - (START // S) % 86_400  # seconds to midnight UTC
    stage = limited(daily_loss=26.0)
    stage.apply(Control(kind=ControlKind.EXECUTION, side=1, quantity=5.0, price=100.0, exec_id=1))
    decide(stage, *stream((0, 96.0, 96.0, HOLD), (day, 91.0, 91.0, (NAN, 10.0, 0.1))))
    assert stage.limits.book[0].begin == -20.0
    assert not stage.limits.stopped
    stage.apply(Control(kind=ControlKind.COMMISSION, value=1.0, exec_id=1))
    decide(stage, *stream((day + 1, 91.0, 91.0, (NAN, 10.0, 0.1))))
    assert stage.limits.stopped


def test_an_opening_order_that_works_is_cancelled_by_the_stop():
    stage = limited(daily_loss=20.0)
    stage.apply(Control(kind=ControlKind.EXECUTION, side=1, quantity=1.0, price=100.0, exec_id=1))
    stage.params["simulate"] = 0
    decide(stage, *stream((0, 100.0, 100.0, GO), (0.1, 80.0, 80.0, GO)))
    assert reasons(stage) == ["ORDER", "CANCEL"]
    assert life(stage) == [(1, "INTENT"), (1, "CANCEL_INTENT")]


def test_a_stop_goes_on_from_an_earlier_run():
    # the earlier run has lost 12 of its 20: with the taken-over share at 93 it is 19, at 92 20
    stage = limited(daily_loss=20.0)
    stage.apply(Control(kind=ControlKind.EXECUTION, side=1, quantity=1.0, price=100.0, exec_id=0))
    day = START - START % (86_400 * S)
    stage.apply(Control(kind=ControlKind.LOSS_STOP, key=day, value=-112.0, quantity=0.0))  # lost 12 with the share at 100
    decide(stage, *stream((0, 93.0, 93.0, HOLD)))
    assert not stage.limits.stopped
    decide(stage, *stream((0.1, 92.0, 92.0, HOLD)))
    assert stage.limits.stopped
    again = limited(daily_loss=20.0)
    again.apply(Control(kind=ControlKind.LOSS_STOP, key=day, value=0.0, quantity=1.0))
    assert reasons(decide(again, *stream((0, 100.0, 100.0, GO)))) == ["LOSS_STOP"]


@given(st.integers(0, 2**32), st.lists(st.integers(0, 100), max_size=5), st.floats(1.0, 30.0))
def test_the_stop_does_not_depend_on_the_cut_and_outlives_a_snapshot(seed, cuts, loss):
    risk = replace(FEW, name_cap=0.02, limits=LimitsConf(daily_loss=loss, per_second=2, per_minute=20, restricted=["BBB"]))
    ticks, f, whole = random_stage(seed, 100, 3, scale=100.0, risk=risk)
    decide(whole, ticks, f)
    _, _, parts = random_stage(seed, 100, 3, scale=100.0, risk=risk)
    for rows, window in windows(forecasts_table(ticks, f), ticks_table(ticks), cuts):
        parts.step(rows, window)
        saved, parts = parts.snapshot(), random_stage(seed, 100, 3, scale=100.0, risk=risk)[2]
        parts.restore(saved)
    assert whole.snapshot()["limits_book"].tolist() == parts.snapshot()["limits_book"].tolist()
    assert whole.snapshot()["limits_times"].tolist() == parts.snapshot()["limits_times"].tolist()


@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([20.0, 100.0]))
def test_no_stream_of_orders_breaks_a_limit(seed, n_symbols, scale):
    conf = LimitsConf(
        order_shares=20.0, order_value=1200.0, position_shares=15.0, position_value=1000.0, gross_value=1400.0, net_value=1100.0, per_second=2, per_minute=10,
        collar_quote=20.0, restricted=["DDD"], daily_loss=5.0,
    )  # fmt: skip
    risk = replace(FEW, name_cap=0.02, gross_cap=1.0, limits=conf)
    n = 150
    ticks = market(seed, n, n_symbols)
    f = forecasts_of(seed, due_rows(ticks), 3, scale=scale)
    stage = make(n_symbols, risk, FREE, symbols=NAMES[:n_symbols])
    rows, table = forecasts_table(ticks, f), ticks_table(ticks)
    sent = []
    for rows_of, window in windows(rows, table, range(n)):
        stopped = stage.limits.stopped
        stage.step(rows_of, window)
        for i in range(stage.intents.lo, stage.intents.hi):
            if stage.intents.state[i] != OrderState.INTENT:
                continue
            symbol, side, quantity, limit = (getattr(stage.intents, k)[i] for k in ("symbol", "side", "quantity", "limit"))
            s, marks = stage.state[symbol], stage.state["mark"]
            assert NAMES[symbol] != "DDD"
            assert side * (limit - s.mark) <= s.mark * 20e-4 + 1e-9
            sent.append(int(stage.intents.ts[i]))
            after = s.position + side * quantity
            if side * s.position < 0 and quantity <= abs(s.position):
                continue
            assert not stopped
            assert quantity <= 20
            assert quantity * limit <= 1200
            assert abs(after) <= 15
            assert abs(after) * s.mark <= 1000
            ends = stage.state["position"] + stage.state["working"] * stage.state["side"] * stage.state["quantity"]
            reach = np.maximum(abs(stage.state["position"]), abs(ends))
            reach[symbol] = abs(after)
            assert np.nansum(reach * marks) <= 1400 + 1e-9
            toward = np.maximum(side * stage.state["position"], side * ends)
            toward[symbol] = side * after
            assert np.nansum(toward * marks) <= 1100 + 1e-9
    for t in sent:
        assert sum(t <= u < t + S for u in sent) <= 2
        assert sum(t <= u < t + MINUTE for u in sent) <= 10


@pytest.mark.parametrize(("conf", "expected"), [
    ({"order_value": 0.0}, "risk.limits.order_value is 0.0: expected a positive number, or inf for no limit. "),
    ({"daily_loss": NAN}, "risk.limits.daily_loss is nan: expected a positive number, or inf for no limit. "),
    ({"per_second": -1}, "risk.limits.per_second is -1: expected zero or more, and less than 100,000. "),
    ({"restart": ["23:45"]}, "risk.limits.restart is ['23:45']: expected [] or two times such as ['23:45', '00:45']. "),
    ({"restart": ["24:00", "01:00"]}, "risk.limits.restart is ['24:00', '01:00']: expected [] or two times such as ['23:45', '00:45']. "),
    ({"restart_zone": "Mars"}, "risk.limits.restart_zone is 'Mars': expected a time zone such as America/New_York. "),
    ({"resume_day": "today"}, "risk.limits.resume_day is 'today': expected '' or a day such as 2026-01-31. "),
    ({"restricted": ["A"], "close_only": ["A"]}, "risk.limits has 'A' in restricted and in close_only: expected one of them. "),
])  # fmt: skip
def test_a_setting_out_of_range_is_named(conf, expected):
    with pytest.raises(ConfigError) as e:
        Limits(LimitsConf(**conf), ["A"])
    assert str(e.value) == expected + "Correct it in conf/risk or on the command line."


def test_an_exchange_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"^risk.limits.calendar is 'XNYX': no such exchange"):
        Limits(LimitsConf(calendar="XNYX"), []).prepare(START, START)


def test_every_reason_of_a_limit_has_a_text_and_every_limit_a_line():
    assert {r for r in Reason if Reason.RESTRICTED <= r < Reason.NOT_TURNED} <= TEXTS.keys()
    said = dict(lines(LimitsConf(order_shares=5000.0, order_value=1e6, per_second=5, calendar="XNYS", last_minutes=5.0, restart=["23:45", "00:45"])))
    assert said["order"] == "5,000 shares, value 1,000,000"
    assert said["orders"] == "5 a second, any number a minute"
    assert said["opened"] == "XNYS, not in its first 0 and last 5 minutes"
    assert said["no orders"] == "23:45 to 00:45 America/New_York"
    assert (said["daily loss"], said["restricted"]) == ("no limit", "none")
