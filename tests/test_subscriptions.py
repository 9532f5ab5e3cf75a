"""The subscription table, with a clock and a wire of the test's own."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.schemas import Feed, Health
from tickarrow.pipeline.subscriptions import Subscriptions
from tickarrow.pipeline.universe import Universe

LOOK_S = 0.25


class Wire:
    """Asks for what is due and counts frames of each id."""

    def __init__(self, symbols=("AAA",), **conf):
        self.table = Subscriptions(GatewayConf(**conf), Universe.of(symbols))
        self.frames, self.asked, self.said, self.now, self.alive = {}, [], [], 0.0, True
        self.ids, self.resting = itertools.count(100), set()
        self.ask()

    def ask(self):
        while (s := self.table.due(self.now)) is not None:
            request = next(self.ids)
            self.asked.append((self.now, s.symbol, s.feed, request))
            self.frames[request] = 3 if self.alive else 1  # the answer: the data type, and from a line that lives its quote
            self.table.asked(s, request, self.now)

    def run(self, seconds, every=None, watched=True, row=None):
        """Let time pass; the current ids of a symbol, or of all, get a frame at each multiple of `every`."""
        end, self.alive = self.now + seconds, every is not None
        while self.now < end - 1e-9:
            before, self.now = self.now, self.now + LOOK_S
            if every is not None and math.floor(self.now / every + 1e-9) > math.floor(before / every + 1e-9):
                for s in self.table.all:
                    if row in (None, s.symbol) and s.req_id >= 0:
                        self.frames[s.req_id] += 1
            self.said += self.table.look(self.now, watched, lambda r: (0, self.frames[r]), lambda row: row in self.resting)
            self.ask()

    def one(self, row=0):
        return next(s for s in self.table.all if s.symbol == row)


def test_a_subscription_that_falls_silent_is_stale_and_asked_for_again_within_its_bound():
    w = Wire()
    w.run(60, every=1.0)
    assert w.one().health == Health.LIVE
    died = w.now
    w.run(4.75)
    assert w.one().health == Health.LIVE
    w.run(0.5)
    assert w.one().health == Health.STALE
    assert [t for t, *_ in w.asked] == [0.0, died + 5.25]  # 5 s, seen at the next look
    assert w.said == ["market data of AAA silent for 5.2 s (expected every 1.0 s): asked again"]


def test_every_resubscription_takes_a_fresh_id__stoqey_240():
    w = Wire(["AAA", "BBB"])
    w.run(200)
    ids = [request for *_, request in w.asked]
    assert len(ids) > 6
    assert len(set(ids)) == len(ids)
    assert {w.table.of(s.req_id) is s for s in w.table.all} == {True}
    assert all(w.table.of(old) is None for old in ids if old not in [s.req_id for s in w.table.all])


def test_the_bound_grows_with_the_own_gaps_of_a_quiet_symbol():
    w = Wire()
    w.run(3600, every=30.0)
    quiet = w.one()
    # its gap is 30 s: it is stale after 150 s, and no longer asked for again
    assert quiet.gap == pytest.approx(30.0, rel=0.02)
    assert w.table.bound(quiet) == pytest.approx(150.0, rel=0.02)
    asked = len(w.asked)
    assert asked <= 30  # while it learnt
    w.run(3600, every=30.0)
    assert len(w.asked) == asked


def test_the_expected_gap_is_the_gap_that_a_random_moment_falls_into():
    """E[g^2] / E[g]: for a Poisson stream twice the mean gap."""
    w, rng, t = Wire(silent_s=1e9), random.Random(1), 3.0
    seen = []
    for _ in range(20_000):
        t += rng.expovariate(1 / 0.7)
        w.frames[w.one().req_id] += 1
        w.now = t
        w.table.look(t, True, lambda r: (0, w.frames[r]), lambda row: False)
        seen.append(w.one().gap)
    assert sum(seen[2000:]) / len(seen[2000:]) == pytest.approx(1.4, rel=0.05)


def test_it_is_asked_again_less_and_less_often_while_nothing_comes():
    w = Wire()
    w.run(10, every=1.0)
    w.run(400)
    gaps = [b - a for (a, *_), (b, *_) in itertools.pairwise(w.asked[1:])]
    assert gaps[:3] == pytest.approx([10.25, 20.25, 40.25], abs=0.3)
    assert all(g == pytest.approx(60.25, abs=0.3) for g in gaps[3:])
    assert w.said[1] == "market data of AAA silent for 15.5 s (expected every 1.0 s): asked again, 2nd time"


def test_silence_out_of_hours_or_with_the_link_down_is_none():
    w = Wire()
    w.run(20, every=1.0)
    w.run(3600, watched=False)
    assert w.one().health == Health.LIVE
    assert len(w.asked) == 1
    w.run(5.0)
    assert w.one().health == Health.LIVE  # the open: silence counts from here
    w.run(0.5)
    assert w.one().health == Health.STALE
    assert w.one().gap < 2  # the night was no gap


def test_a_halted_symbol_may_be_silent():
    w = Wire(["AAA", "BBB"])
    w.run(20, every=1.0)
    w.resting = {0}
    w.run(59)
    assert w.one(0).health == Health.LIVE
    assert w.one(1).health == Health.STALE
    w.run(2)
    assert [symbol for _, symbol, *_ in w.asked[2:]].count(0) == 1  # the end of the halt may have been lost


def test_many_that_fall_silent_together_are_told_in_one_line():
    w = Wire([f"S{i}" for i in range(9)])
    w.run(20, every=1.0)
    w.run(6)
    assert w.said == ["market data of S0, S1, S2, S3, S4 and 4 more silent for 5.2 s (expected every 1.0 s): asked again"]


def test_the_market_data_type_alone_is_no_sign_of_life():
    w = Wire()
    w.run(10, every=1.0)
    w.run(8)
    assert w.frames[w.one().req_id] == 1
    assert w.one().health == Health.STALE


def test_a_tick_makes_it_live_again():
    w = Wire()
    w.run(10, every=1.0)
    w.run(6)
    assert w.one().health == Health.STALE
    w.run(1, every=0.5)
    assert w.one().health == Health.LIVE
    assert w.one().resubscriptions == 1


def test_after_1102_or_a_farm_flap_only_the_silent_are_asked_for__ibc_143():
    w = Wire(["AAA", "BBB"])
    for _ in range(40):
        w.run(LOOK_S, every=LOOK_S, row=0)
        w.frames[w.one(1).req_id] += 1
    w.table.verify(w.now)
    w.run(6, every=1.0, row=0)
    assert [(symbol) for _, symbol, *_ in w.asked] == [0, 1, 1]


def test_after_1101_and_in_a_new_session_everything_is_asked_for_again__nautilus_1533():
    w = Wire(["AAA", "BBB"])
    w.run(10, every=1.0)
    w.table.ask_all(w.now)
    assert {s.health for s in w.table.all} == {Health.LOST}
    w.ask()
    assert len(w.asked) == 4
    assert w.table.forget_ids() == [102, 103]
    assert w.table.due(w.now) is None  # the link is down
    w.table.ask_all(w.now)
    w.ask()
    assert len(w.asked) == 6


def test_one_that_is_refused_is_not_asked_for_again():
    w = Wire(["AAA", "BBB"])
    said = w.table.error(100, 354, "Requested market data is not subscribed.", 1.0)
    assert said == (
        "market data of AAA: Requested market data is not subscribed. (code 354). It is not asked for again. Delayed data: gateway.market_data_type=3."
    )
    w.run(600, every=1.0, row=1)
    w.table.ask_all(w.now)
    w.ask()
    assert [symbol for _, symbol, *_ in w.asked] == [0, 1, 1]
    assert w.table.health() == [Health.REFUSED, Health.LOST]


def test_data_that_another_session_has_taken_are_asked_for_slowly__rust_ibapi_683():
    w = Wire()
    w.run(10, every=1.0)
    said = w.table.error(100, 10197, "No market data during competing live session", w.now)
    assert "Asked again every 60 s. Log the other session out" in said
    assert w.table.error(100, 10197, "No market data during competing live session", w.now) == ""
    assert w.table.health() == [Health.DISPLACED]
    w.run(250)
    assert [t for t, *_ in w.asked] == pytest.approx([0, 70, 130.25, 190.5, 250.75], abs=0.6)
    w.run(2, every=0.5)
    assert w.table.health() == [Health.LIVE]


@pytest.mark.parametrize("code", [10182, 10225, 322])
def test_one_lost_subscription_is_asked_for_at_once_and_alone(code):
    w = Wire(["AAA", "BBB"])
    w.run(10, every=1.0)
    assert w.table.error(101, code, "gone", w.now) == f"market data of BBB: gone (code {code}): asked again"
    w.ask()
    assert [symbol for _, symbol, *_ in w.asked] == [0, 1, 1]


@pytest.mark.parametrize("code", [300, 10090, 10091, 10167, 2152])
def test_advisory_codes_change_nothing__rust_ibapi_672(code):
    w = Wire()
    w.table.error(100, code, "advice", 1.0)
    assert w.one().health == Health.LIVE
    w.ask()
    assert len(w.asked) == 1


def test_an_error_of_an_old_id_is_not_one_of_data():
    w = Wire()
    w.run(10, every=1.0)
    w.run(6)
    assert w.table.error(100, 354, "late", w.now) is None
    assert w.table.of(100) is None


def test_tick_by_tick_goes_to_the_first_of_the_list_and_l1_to_the_rest__lean_ib_79():
    w = Wire(["AAA", "BBB", "CCC"], tick_by_tick_symbols=["CCC", "AAA"])
    assert [(symbol, feed) for _, symbol, feed, _ in w.asked] == [(0, Feed.L1), (1, Feed.L1), (2, Feed.TBT_LAST), (2, Feed.TBT_BIDASK)]
    assert w.table.degraded == ["AAA"]
    assert w.table.tick_by_tick_used == 2
    assert w.table.lines_used == 4


def test_tick_by_tick_that_is_refused_becomes_l1__deephaven_48():
    w = Wire(["AAA", "BBB"], tick_by_tick_symbols=["BBB"])
    said = w.table.error(102, 10190, "Max number of tick-by-tick requests has been reached", 1.0)
    assert said.endswith("L1 is asked for in its place.")
    assert w.table.ended == [101, 102]
    assert w.table.tick_by_tick == 1
    w.now = 1.0
    w.ask()
    assert [(symbol, feed) for _, symbol, feed, _ in w.asked][3:] == [(1, Feed.L1)]


def test_one_instrument_is_asked_for_tick_by_tick_once_in_15_s():
    w = Wire(tick_by_tick_symbols=["AAA"])
    w.run(6)  # the quotes are silent for 5 s: stale, but asked for again not before 15 s have passed
    assert w.table.health() == [Health.STALE]
    assert len(w.asked) == 2
    w.run(10)
    assert [t for t, _, feed, _ in w.asked if feed == Feed.TBT_BIDASK] == [0.0, 15.0]


def test_quiet_trades_are_no_reason_to_distrust_the_quotes():
    w = Wire(tick_by_tick_symbols=["AAA"])
    for _ in range(200):
        w.now += LOOK_S
        quotes = next(s for s in w.table.all if s.feed == Feed.TBT_BIDASK)
        w.frames[quotes.req_id] += 1
        w.table.look(w.now, True, lambda r: (0, w.frames[r]), lambda row: False)
    assert {s.feed: s.health for s in w.table.all} == {Feed.TBT_LAST: Health.STALE, Feed.TBT_BIDASK: Health.LIVE}
    assert w.table.health() == [Health.LIVE]


def test_more_symbols_than_lines_is_an_error_before_anything_starts__ib_insync_293():
    with pytest.raises(ConfigError, match="3 symbols and 1 with bars need 4 market data lines, the account has 3"):
        Subscriptions(GatewayConf(lines=3, bar_symbols=["B"]), Universe.of(["A", "B", "C"]))
    with pytest.raises(ConfigError, match="names 2 symbols, the account may have 1 at a time"):
        Subscriptions(GatewayConf(depth=1, depth_symbols=["A", "B"]), Universe.of(["A", "B"]))
    with pytest.raises(ConfigError, match=r"gateway.depth_symbols names 'X', which is not in the universe"):
        Subscriptions(GatewayConf(depth_symbols=["X"]), Universe.of(["A"]))


def test_a_line_less_than_said_corrects_the_budget():
    w = Wire(["AAA", "BBB", "CCC"])
    w.table.error(102, 101, "Max number of tickers has been reached", 1.0)
    assert w.table.lines == 2
    assert w.table.health() == [Health.LIVE, Health.LIVE, Health.REFUSED]


@given(st.floats(0.3, 40.0), st.floats(100.0, 600.0))
def test_a_death_is_always_found_within_the_bound(every, lived):
    w = Wire(retry_max_s=1e9)
    w.run(lived, every=every)
    s = w.one()
    heard = max(s.heard, s.asked)
    asked, bound = len(w.asked), max(5.0, 5 * s.gap)
    patience = bound * 2 ** (s.tries - 1)
    w.run(patience - (w.now - heard) + 2 * LOOK_S)
    assert s.health == Health.STALE
    assert len(w.asked) > asked
