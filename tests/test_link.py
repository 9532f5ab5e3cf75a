"""The state machine of the link, with a clock of the test's own."""

from __future__ import annotations

import pytest

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.link import Action, Link, LinkState, patient

CONF = GatewayConf(ping_after_s=5.0, ping_timeout_s=5.0, reconnect_min_s=1.0, reconnect_max_s=60.0)


def up(conf=CONF, now=0.0):
    link = Link(conf)
    link.up(now)
    return link


@pytest.mark.parametrize("code", [2103, 2104, 2105, 2106, 2107, 2108, 2119, 2157, 2158])
def test_farm_codes_never_touch_the_socket__nautilus_4412(code):
    link = up()
    assert link.code(code, "Market data farm connection is broken:usfarm", 1.0) == Action.NOTHING
    assert link.state == LinkState.UP


def test_a_farm_that_comes_back_after_it_broke_is_verified__nautilus_3968():
    link = up()
    assert link.code(2104, "Market data farm connection is OK:usfarm", 1.0) == Action.NOTHING  # how every session begins
    link.code(2103, "Market data farm connection is broken:usfarm", 2.0)
    assert link.code(2104, "Market data farm connection is OK:eufarm", 3.0) == Action.NOTHING
    assert link.code(2104, "Market data farm connection is OK:usfarm", 4.0) == Action.VERIFY
    assert link.code(2104, "Market data farm connection is OK:usfarm", 5.0) == Action.NOTHING


@pytest.mark.parametrize(("restored", "action"), [(1101, Action.RESUBSCRIBE), (1102, Action.VERIFY)])
def test_1100_keeps_the_socket_until_1101_or_1102(restored, action):
    link = up()
    assert link.code(1100, "Connectivity between IB and TWS has been lost", 1.0) == Action.NOTHING
    assert link.state == LinkState.LOST
    assert link.look(2.0, read_at=1.0) == Action.NOTHING
    assert link.code(restored, "Connectivity has been restored", 3.0) == action
    assert link.state == LinkState.UP


@pytest.mark.parametrize("first", [True, False], ids=["the first session", "a later one"])
@pytest.mark.parametrize("code", [1100, 2110])
def test_a_session_that_tws_accepts_while_ibkr_is_out_of_reach_is_not_up(first, code):
    link = Link(CONF)
    if not first:
        link.up(0.0)
        link.down(1.0, "closed")
        link.connecting(2.0)
    link.code(code, "Connectivity between TWS and server is broken", 3.0)
    link.up(4.0)
    assert link.state == LinkState.LOST
    assert link.code(1102, "restored", 5.0) == Action.VERIFY
    assert link.state == LinkState.UP


def test_what_an_earlier_attempt_was_told_says_nothing_of_the_next_one():
    link = up()
    link.down(1.0, "closed")
    link.connecting(2.0)
    link.code(1100, "lost", 3.0)
    link.down(4.0, "closed")
    link.connecting(5.0)
    link.up(6.0)
    assert link.state == LinkState.UP
    link.down(7.0, "closed")
    link.connecting(8.0)
    link.code(1100, "lost", 9.0)
    link.code(1102, "restored", 9.5)
    link.up(10.0)
    assert link.state == LinkState.UP


def test_1100_alone_never_drops_a_socket_that_answers():
    link = up()
    link.code(1100, "lost", 0.0)
    read = 0.0
    for now in range(1, 3600):
        action = link.look(float(now), read)
        assert action in (Action.NOTHING, Action.PING)
        if action == Action.PING:
            read = now + 0.5


@pytest.mark.parametrize("code", [502, 504, 1300])
def test_a_socket_that_tws_says_is_gone_is_dropped(code):
    assert up().code(code, "Not connected", 1.0) == Action.DROP


def test_a_half_open_socket_is_found_in_ten_seconds():
    link = up()
    assert link.look(4.9, read_at=0.0) == Action.NOTHING
    assert link.look(5.0, read_at=0.0) == Action.PING
    assert link.look(9.9, read_at=0.0) == Action.NOTHING
    assert link.look(10.1, read_at=0.0) == Action.DROP


def test_an_answered_question_is_asked_again_only_after_the_next_silence():
    link = up()
    assert link.look(5.0, read_at=0.0) == Action.PING
    assert link.look(6.0, read_at=5.5) == Action.NOTHING
    assert link.look(10.4, read_at=5.5) == Action.NOTHING
    assert link.look(10.5, read_at=5.5) == Action.PING


def waits(link, n, start=0.0):
    """Seconds between attempts, when each one fails at once."""
    out, now = [], start
    for _ in range(n):
        out.append(link.retry_at - now)
        now = link.retry_at
        assert link.look(now, 0.0) == Action.CONNECT
        link.connecting(now)
        assert link.look(now, 0.0) == Action.NOTHING
        link.down(now, "refused")
    return out


def test_attempts_wait_twice_as_long_each_time_up_to_a_minute():
    link = up()
    link.down(0.0, "closed")
    for n, wait in enumerate(waits(link, 10)):
        longest = min(60.0, 2.0**n)
        assert 0.5 * longest <= wait <= longest


def test_the_jitter_is_seeded_by_the_client_id():
    found = []
    for client_id in (1, 1, 2):
        link = up(GatewayConf(client_id=client_id))
        link.down(0.0, "closed")
        found.append(waits(link, 5))
    assert found[0] == found[1] != found[2]


def test_a_client_id_in_use_is_waited_for__nautilus_3796():
    link = up()
    link.down(0.0, "closed")
    link.connecting(1.0)
    assert link.code(326, "Unable to connect as the client id is already in use.", 1.1) == Action.NOTHING
    link.down(1.1, "refused")
    assert link.retry_at > 1.1  # and nothing here can change the id
    assert link.state == LinkState.DOWN


def test_a_steady_session_starts_the_waits_anew():
    link = up()
    link.down(0.0, "closed")
    waits(link, 6)
    link.up(100.0)
    link.down(161.0, "closed")
    assert link.retry_at - 161.0 <= 1.0
    link.up(170.0)
    link.down(171.0, "closed")
    assert link.retry_at - 171.0 >= 1.0


@pytest.mark.parametrize(("give_up_s", "expected"), [(0.0, Action.CONNECT), (30.0, Action.GIVE_UP)])
def test_it_gives_up_only_if_it_is_told_so(give_up_s, expected):
    link = up(GatewayConf(reconnect_give_up_s=give_up_s))
    link.down(0.0, "closed")
    assert link.look(1.0, 0.0) == Action.CONNECT
    link.connecting(1.0)
    link.down(2.0, "refused")
    assert link.look(1e6, 0.0) == expected


def test_a_market_that_runs_faster_than_the_wall_gets_the_patience_of_seconds_of_the_wall():
    """Half a second in which a busy machine sends nothing is 30 s of a market at 60 times the speed."""
    conf = patient(GatewayConf(kind="simulator", speed=60.0))
    assert (conf.ping_after_s, conf.ping_timeout_s, conf.silent_s) == (60.0, 120.0, 15.0)
    link = up(conf)
    assert link.look(30.0, 0.0) == Action.NOTHING
    assert link.look(61.0, 0.0) == Action.PING
    assert link.look(180.0, 0.0) == Action.NOTHING
    assert link.look(182.0, 0.0) == Action.DROP


@pytest.mark.parametrize("conf", [GatewayConf(kind="ib", speed=60.0), GatewayConf(kind="simulator", speed=1.0), GatewayConf(kind="simulator", speed=0.0)])
def test_other_gateways_get_the_patience_that_is_set(conf):
    assert patient(conf) == conf


def test_more_patience_than_that_may_be_set():
    assert patient(GatewayConf(kind="simulator", speed=60.0, ping_after_s=600.0)).ping_after_s == 600.0
