"""The subscription table: what market data is wanted, and what is known of each. It is the truth: after any loss, what it holds is asked
for again. Pure rules: time (seconds, of one clock) is an argument and nothing is sent from here.

A subscription is dead when it is silent for longer than `silent_s` and `silent_gaps` times its own expected gap while its exchange is open
and the link is up. The expected gap is the gap that a random moment falls into: gaps averaged with their own length as weight, so that bursts
do not hide the pauses between them (for a Poisson stream it is twice the mean gap). Asking again takes a fresh reqId each time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.schemas import Feed, Health
from tickarrow.pipeline.settings import check_group
from tickarrow.pipeline.universe import Universe

NEVER = -math.inf
MEMORY_S = 300.0  # gaps are forgotten in so long
ANSWER = {feed: int(feed == Feed.L1) for feed in Feed}  # frames of the answer that are no data: the market data type
SETTLE_S = 2.0  # what comes so soon after asking is the answer, not the feed
TICK_BY_TICK = (Feed.TBT_LAST, Feed.TBT_BIDASK)
QUOTES = {Feed.L1, Feed.TBT_BIDASK}  # a symbol's health is that of its quotes
FIRST_GAP_S = {Feed.TBT_LAST: 5.0, Feed.BAR_5S: 5.0}  # before anything is known; 1 s for the others
NAMES = {Feed.L1: "market data", Feed.TBT_LAST: "tick-by-tick trades", Feed.TBT_BIDASK: "tick-by-tick quotes", Feed.DEPTH: "market depth",
         Feed.BAR_5S: "5-second bars"}  # fmt: skip

LOST_NOW = {10182, 10225, 316, 322}  # this one ended; ask again, with a fresh id
PAUSE = {420, 162}  # asked too often
LINE_LIMIT, TICK_LIMIT, DEPTH_LIMIT = 101, 10190, 309
NO_TICK_BY_TICK = {10186, 10189}
DISPLACED = 10197
REFUSING = {200, 321, 354, 10089, 10168, LINE_LIMIT, DEPTH_LIMIT}
PAUSE_S = 15.0


@dataclass(slots=True)
class Subscription:
    """One feed of one symbol; times in seconds."""

    symbol: int  # row of the universe
    feed: Feed  # that is served
    wanted: Feed
    gap: float  # expected
    health: Health = Health.LOST
    req_id: int = -1  # -1 = not asked for
    generation: int = 0  # how often it was asked for
    tries: int = 0  # since its data last flowed
    asked: float = NEVER
    heard: float = NEVER
    flowed: float = NEVER  # heard, and not as the answer to asking
    dead: bool = False  # asking was not answered: the silence is an outage, no gap of the symbol
    frames: int = 0  # of this reqId
    due: float = NEVER  # when to ask
    refusal: str = ""

    @property
    def resubscriptions(self) -> int:
        return max(self.generation - 1, 0)


class Subscriptions:
    """All subscriptions of a session.

    Parameters
    ----------
    conf : budgets and feed of each symbol
    universe : what is wanted

    Raises
    ------
    ConfigError
        a setting means nothing, more is wanted than the account's lines can give, or a symbol is not in the universe
    """

    def __init__(self, conf: GatewayConf, universe: Universe) -> None:
        check_group("gateway", conf)
        self.conf, self.universe = conf, universe
        self.lines = conf.lines or 1 << 30
        self.tick_by_tick = conf.tick_by_tick or 1 << 30
        self.degraded: list[str] = []  # symbols that get L1 in place of tick-by-tick
        ticks, depth, bars = (_rows(universe, getattr(conf, n), n) for n in ("tick_by_tick_symbols", "depth_symbols", "bar_symbols"))
        free, left = self.lines - len(universe) - len(bars), self.tick_by_tick
        if free < 0:
            raise ConfigError(
                f"{len(universe)} symbols and {len(bars)} with bars need {len(universe) + len(bars)} market data lines, the account has {self.lines}. "
                "Take symbols out (universe.symbols, gateway.bar_symbols), or say how many lines it really has (gateway.lines)."
            )
        if len(depth) > (conf.depth or 1 << 30):
            raise ConfigError(f"gateway.depth_symbols names {len(depth)} symbols, the account may have {conf.depth} at a time (gateway.depth). Name fewer.")
        served = set()
        for row in ticks:
            if left >= 2 and free >= 1:  # two lines in place of the one of L1
                served.add(row)
                left, free = left - 2, free - 1
            else:
                self.degraded.append(universe.symbols[row])
        self.all: list[Subscription] = []
        for row in range(len(universe)):
            for feed in TICK_BY_TICK if row in served else (Feed.L1,):
                self._add(row, feed, Feed.TBT_BIDASK if row in ticks else feed)
        for row in depth:
            self._add(row, Feed.DEPTH, Feed.DEPTH)
        for row in bars:
            self._add(row, Feed.BAR_5S, Feed.BAR_5S)
        self.ended: list[int] = []  # reqIds to cancel, nothing takes their place
        self._by_id: dict[int, Subscription] = {}
        self._watched_from = NEVER  # silence before this does not count
        self._verified_from = NEVER  # who is silent since then is asked for again
        self._told: dict[int, float] = {}  # code -> when the user was told

    def _add(self, row: int, feed: Feed, wanted: Feed) -> None:
        self.all.append(Subscription(row, feed, wanted, FIRST_GAP_S.get(feed, 1.0)))

    # --- asking

    def due(self, now: float) -> Subscription | None:
        """The next one to ask for now: first what was never asked or was lost first."""
        ready = [s for s in self.all if s.due <= now and not (s.feed in TICK_BY_TICK and now - s.asked < self.conf.tick_by_tick_s)]
        return min(ready, key=lambda s: s.due, default=None)

    def asked(self, s: Subscription, req_id: int, now: float) -> None:
        """It was asked for under a fresh reqId; its old one has been retired."""
        self._by_id.pop(s.req_id, None)
        self._by_id[req_id] = s
        if s.generation == 0:
            s.health = Health.LIVE  # nothing was lost yet
        s.dead |= s.generation > 0 and s.heard <= s.asked
        s.req_id, s.asked, s.due, s.frames = req_id, now, math.inf, 0
        s.generation += 1
        s.tries += 1

    def of(self, req_id: int) -> Subscription | None:
        """The subscription that is asked for under this reqId now."""
        return self._by_id.get(req_id)

    def forget_ids(self) -> list[int]:
        """A session ended, and its reqIds with it: the ids that were in use."""
        ids = sorted(self._by_id)
        self._by_id.clear()
        for s in self.all:
            s.req_id = -1
            if s.health != Health.REFUSED:
                s.health, s.due = Health.LOST, math.inf
        return ids

    def ask_all(self, now: float) -> None:
        """A new session, or IBKR said that all data are lost (1101)."""
        for s in self.all:
            if s.health == Health.REFUSED:
                continue
            if s.generation:
                s.health = Health.LOST
            s.due, s.tries = now, 0

    def verify(self, now: float) -> None:
        """Data may be lost (1102, a farm came back): who stays silent from now on is asked for again, at its usual patience."""
        self._verified_from = now
        for s in self.all:
            s.tries = min(s.tries, 1)

    # --- listening

    def look(self, now: float, watched: bool, heard: Callable[[int], tuple[int, int]], resting: Callable[[int], bool]) -> list[str]:
        """Read what came since the last look, and find the silent.

        Parameters
        ----------
        watched : whether silence means anything now: link up, exchange open
        heard : `Decode.heard`
        resting : whether a symbol (its row) is halted or frozen: its silence is natural, and asked about at most every `retry_max_s`

        Returns
        -------
        one sentence for each event that a person may act on
        """
        if not watched:
            self._watched_from = now
        silent: dict[tuple[Feed, int], list[Subscription]] = {}
        for s in self.all:
            if s.req_id < 0:
                continue
            _, frames = heard(s.req_id)
            if frames <= ANSWER[s.feed] and now - s.asked <= SETTLE_S:
                s.frames = frames
            if frames > s.frames:
                self._flows(s, frames, now)
            elif watched and s.due == math.inf:
                since = max(s.heard, s.asked, self._watched_from)
                rest = self.conf.retry_max_s if s.feed != Feed.BAR_5S and resting(s.symbol) else 0.0
                if s.health == Health.LIVE and now - since > max(rest, self.bound(s)):
                    s.health = Health.STALE
                if s.health != Health.LIVE and now - max(since, self._verified_from) > max(rest, self._patience(s)):
                    s.due = now
                    silent.setdefault((s.feed, s.tries), []).append(s)
        return [self._silent(group, now) for group in silent.values()]

    def _silent(self, group: list[Subscription], now: float) -> str:
        """One sentence for those that fell silent together."""
        names = [self.universe.symbols[s.symbol] for s in group]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        first = group[0]
        again = f", {_ordinal(first.tries)} time" if first.tries > 1 else ""
        since = f"silent for {now - first.heard:.1f} s" if first.heard > NEVER else f"not answered for {now - first.asked:.1f} s"
        return f"{NAMES[first.feed]} of {', '.join(names[:5])}{more} {since} (expected every {first.gap:.1f} s): asked again{again}"

    def _flows(self, s: Subscription, frames: int, now: float) -> None:
        if now - s.asked > SETTLE_S:
            if s.flowed > self._watched_from and not s.dead:
                gap = now - s.flowed
                s.gap += (1.0 - math.exp(-gap / MEMORY_S)) * (gap - s.gap)
            s.tries, s.dead, s.flowed = 1, False, now
        s.frames, s.heard = frames, now
        if s.health in (Health.STALE, Health.LOST, Health.DISPLACED):
            s.health = Health.LIVE

    def bound(self, s: Subscription) -> float:
        """Silence after which it is stale, seconds."""
        return max(self.conf.silent_s, self.conf.silent_gaps * s.gap)

    def _patience(self, s: Subscription) -> float:
        """Silence after which it is asked for again, seconds: longer each time, so that a quiet symbol is not asked for all day."""
        bound = self.bound(s)
        if s.health == Health.DISPLACED:
            return max(bound, self.conf.displaced_retry_s)
        return max(bound, min(bound * 2.0 ** (s.tries - 1), self.conf.retry_max_s))

    # --- errors

    def error(self, req_id: int, code: int, text: str, now: float) -> str | None:
        """What IBKR says of a request; a sentence for the user, empty if he was told or it means nothing. None = not of market data."""
        s = self._by_id.get(req_id)
        if s is None:
            return None
        told = f"{self.name(s)}: {text} (code {code})"
        if code == 300 or code == 317:
            return ""  # a cancel of what is gone; a depth book that begins anew
        if code == DISPLACED:
            s.health = Health.DISPLACED
            s.due = now + self.conf.displaced_retry_s
            return self._once(code, now, f"{told}. Asked again every {self.conf.displaced_retry_s:g} s. Log the other session out, or let it have the data.")
        if code in LOST_NOW:
            s.health = Health.LOST
            s.due = now + (0.0 if s.tries <= 1 else min(2.0**s.tries, self.conf.retry_max_s))
            return f"{told}: asked again"
        if code in PAUSE:
            s.due = now + PAUSE_S
            return self._once(code, now, told)
        if code == LINE_LIMIT:
            self.lines = min(self.lines, self.lines_used - 1)
        if s.feed in TICK_BY_TICK and (code == TICK_LIMIT or code in NO_TICK_BY_TICK or code in REFUSING):
            return self._degrade(s, code, told, now)
        if code in REFUSING or code == TICK_LIMIT:
            self._refuse(s, text)
            remedy = " Delayed data: gateway.market_data_type=3." if code in (354, 10089, 10168) and self.conf.market_data_type < 3 else ""
            return f"{told}. It is not asked for again.{remedy}"
        return self._once(code, now, told)  # advisory, or not known: the watchdog sees whether data follow

    def _once(self, code: int, now: float, text: str) -> str:
        if now - self._told.get(code, NEVER) < 30.0:
            return ""
        self._told[code] = now
        return text

    def _refuse(self, s: Subscription, text: str) -> None:
        self._by_id.pop(s.req_id, None)
        s.health, s.refusal, s.due, s.req_id = Health.REFUSED, text, math.inf, -1

    def _degrade(self, s: Subscription, code: int, told: str, now: float) -> str:
        """L1 in place of tick-by-tick: the symbol's quotes take the place, its tick-by-tick trades end."""
        if code == TICK_LIMIT:
            self.tick_by_tick = min(self.tick_by_tick, self.tick_by_tick_used - 1)
        self.degraded.append(self.universe.symbols[s.symbol])
        for other in [o for o in self.all if o.symbol == s.symbol and o.feed in TICK_BY_TICK]:
            self._by_id.pop(other.req_id, None)
            if other.req_id >= 0:
                self.ended.append(other.req_id)
            self.all.remove(other)
        self.all.append(Subscription(s.symbol, Feed.L1, Feed.TBT_BIDASK, 1.0, generation=s.generation, due=now))
        return f"{told}. L1 is asked for in its place."

    # --- what is told

    def name(self, s: Subscription) -> str:
        return f"{NAMES[s.feed]} of {self.universe.symbols[s.symbol]}"

    @property
    def lines_used(self) -> int:
        return sum(s.req_id >= 0 and s.feed != Feed.DEPTH for s in self.all)

    @property
    def tick_by_tick_used(self) -> int:
        return sum(s.req_id >= 0 and s.feed in TICK_BY_TICK for s in self.all)

    def health(self) -> list[Health]:
        """Health of each symbol's quotes."""
        out = [Health.LIVE] * len(self.universe)
        for s in self.all:
            if s.feed in QUOTES:
                out[s.symbol] = max(out[s.symbol], s.health)
        return out


def _rows(universe: Universe, symbols: Iterable[str], setting: str) -> list[int]:
    rows = []
    for symbol in symbols:
        if symbol not in universe.rows:
            raise ConfigError(f"gateway.{setting} names {symbol!r}, which is not in the universe. Add it to universe.symbols, or take it out.")
        rows.append(universe.rows[symbol])
    return list(dict.fromkeys(rows))


def _ordinal(n: int) -> str:
    return f"{n}" + {1: "st", 2: "nd", 3: "rd"}.get(n if n < 20 else n % 10, "th")
