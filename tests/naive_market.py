"""Slow twin of the generated market: Python integers of any size, one symbol after the other, one sort at the end.

It takes the integer parameters and tables as they are (they have tests of their own) and shares no arithmetic with the kernels."""

import math
from fractions import Fraction

WORD = 2**64


def splitmix(state):
    """Outputs of SplitMix64 from a state on, after the published C code."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % WORD
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
        yield z ^ (z >> 31)


def mix(x):
    return next(splitmix(x))


def xoshiro(state):
    """Outputs of xoshiro256++, after the published C code."""

    def rotate(x, k):
        return (x << k | x >> (64 - k)) % WORD

    s = list(state)
    while True:
        yield (rotate((s[0] + s[3]) % WORD, 23) + s[0]) % WORD
        t = (s[1] << 17) % WORD
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)


def normal(x):
    return sum(x >> 16 * k & 0xFFFF for k in range(4)) - 131070


def normals(key, step):
    """Market and sector normals of a step of 0.1 s."""
    z = [normal(mix(key ^ mix(16 * step + k))) for k in range(8)]
    return {"market": z[0], "sector": z[1:]}


def hub(p, shock, seconds):
    """One dict for each of the seconds, which are those that the market runs through."""
    out, levels = {}, {"slow": 0, "fast": 0, "quick": 0}
    for second in seconds:
        z = {k: mix(p["key"] ^ mix(160 * second + k)) for k in (8, 9, 10, 11)}
        for name, k in (("slow", 8), ("fast", 9), ("quick", 11)):
            levels[name] += -(levels[name] * p[f"{name}_decay"] >> 20) + (normal(z[k]) * p[f"{name}_step"] >> 16)
        row = {name: level >> 8 for name, level in levels.items()}
        row |= {"shock": 0, "jump": 0, "delay": 0}
        if z[10] >> 32 < p["shock"]:
            row["shock"] = 16 * shock[z[10] & 255]
            row["jump"] = row["shock"] * (1 if z[10] >> 8 & 1 else -1)
            row["delay"] = 1900 * (z[10] >> 9 & 0x7FFFF)
        out[second] = row
    return out


SECOND = 10**9
HALT, OPEN, CLOSE = 0, 1, 2
QUOTE, TRADE, NONE = 0, 1, 2


class Symbol:
    """One symbol; `events` are (ts, kind, bid, ask, bid_size, ask_size, price, size) in ticks and shares, kind NONE a quote without sides."""

    def __init__(self, p, state, tables, pauses, parents, exponential, power, day):
        self.p, self.power, self.exponential, self.day = p, power, exponential, day
        self.trade_size, self.change, self.queue, self.kick = tables
        self.lengths, self.roots = parents
        self.pauses = [dict(zip(("begin", "end", "kind"), x)) for x in pauses]
        self.random = xoshiro([state[f"random{i}"] for i in range(4)])
        self.bid = self.ask = 0
        self.sizes = {-1: 0, 1: 0}  # -1 bid, 1 ask
        self.value, self.time, self.taken = state["value"], 0, 0
        self.rates, self.rest = {"own": 0, "fast": 0, "medium": 0, "slow": 0}, {"fast": 0, "medium": 0}
        self.average = {"market": 0, "sector": 0}
        self.process, self.shock = 0, None
        self.parent, self.left, self.last_move = 0, 0, 0
        self.fleeting = {-1: 0, 1: 0}
        self.silent = False
        self.events = []

    def run(self, hub_key, hub_rows, begin, end):
        """Seconds [begin, end) of the clock, one after the other."""
        self.hub_key = hub_key
        self.taken = 10 * begin
        for second in range(begin, end):
            self.time = second * SECOND
            self.take(10 * second)
            self.at_second(second, hub_rows[second])
            self.at_pause(second)
            if not self.silent:
                self.until((second + 1) * SECOND)
        self.take(10 * end)

    def hash(self, n):
        return mix(self.p["key"] ^ mix(n))

    def two_to(self, y):
        y = max(-14 * 65536, min(14 * 65536, y))
        whole, part = divmod(y, 65536)
        b = 2 * self.power[1023 - part // 64]
        return b << whole if whole >= 0 else b >> -whole

    def shift(self, ticks):
        """Move the hidden value, which stays above two ticks."""
        self.value = max(2 * 65536, self.value + ticks)

    def take(self, until):
        p = self.p
        for step in range(self.taken, until):
            z = normals(self.hub_key, step)
            for name, x in (("market", z["market"]), ("sector", z["sector"][p["sector"]])):
                self.average[name] += (x - self.average[name]) * p["lag"] >> 16
            own = normal(self.hash(2 * step + 1))
            move = self.average["market"] * p["beta_market"] + self.average["sector"] * p["beta_sector"] + own * p["beta_own"] >> 16
            self.shift((move * self.volatility >> 16) * p["value_step"] >> 20)
        self.taken = max(self.taken, until)

    def at_second(self, second, row):
        p = self.p
        self.rates["slow"] -= self.rates["slow"] * p["slow_decay"] >> 20
        self.process += -(self.process * p["own_decay"] >> 20) + (normal(self.hash(20 * second)) * p["own_step"] >> 16)
        parts = {"slow": row["slow"], "fast": row["fast"], "quick": row["quick"], "own": self.process >> 8}
        level = sum(x * p[f"weight_{name}"] >> 16 for name, x in parts.items())
        part, rest = divmod(second % 23400 * 12, 23400)
        activity, volatility = (a[part] + (a[part + 1] - a[part]) * rest // 23400 for a in self.day)
        self.rates["own"] = max(40, (p["rate"] * self.two_to(level) >> 16) * activity >> 16)
        self.volatility = self.two_to(level * p["value_vol"] >> 16) * volatility >> 16
        if row["shock"]:
            z = self.hash(3_000_000_000 + second)
            at = min(self.time + row["delay"] + (z & 0x3FFFFF), self.time + SECOND - 1)
            size = (row["shock"] * p["shock"] >> 8) * self.kick[z >> 32 & 255] >> 7 if z >> 24 & 1 else 0
            self.shock = at, size, row["jump"] * p["shock_jump"] >> 8 if z >> 24 & 1 else 0

    def at_pause(self, second):
        p, now = self.p, self.time
        if self.pauses and now == self.pauses[0]["begin"]:
            self.silent = True
            self.rates["fast"] = self.rates["medium"] = 0
            kind, z = self.pauses[0]["kind"], self.hash(5_000_000_000 + 10 * second)
            if kind == HALT:
                self.show(NONE, 0, 0)
            elif kind == CLOSE:
                self.time += z >> 36
                self.auction(4)
                self.pauses.pop(0)
            else:
                if second:
                    m, own = normals(self.hub_key, 10 * second), normal(mix(z))
                    move = m["market"] * p["beta_market"] + m["sector"][p["sector"]] * p["beta_sector"] + own * p["beta_own"] >> 16
                    self.shift(move * p["value_step"] >> 12)
                self.quote(4, p["lot"])
        if self.silent and self.pauses and now == self.pauses[0]["end"]:
            self.time += self.hash(7_000_000_000 + 10 * second) >> 36
            if p["auction"]:
                self.auction(1)
            self.quote(1, max(p["lot"], p["queue"] // p["lot"] * p["lot"]))
            self.silent = False
            self.pauses.pop(0)
        if self.silent:
            self.shock = None
        elif self.shock is not None:
            self.shock = max(self.shock[0], self.time), *self.shock[1:]

    def auction(self, times):
        p = self.p
        z = self.hash(6_000_000_000 + self.time // 10**8) % 128
        size = p["auction"] * times * (64 + z) // 128 // p["lot"] * p["lot"]
        self.show(TRADE, (self.value + 32768) // 65536, max(size, p["lot"]))

    def quote(self, wide, size):
        spread = self.p["spread"] * wide
        self.bid = max(1, (self.value - spread * 32768 + 32768) // 65536)
        self.ask = self.bid + spread
        self.sizes = {-1: size, 1: size}
        self.fleeting = {-1: 0, 1: 0}
        self.show(QUOTE, 0, 0)

    def decay(self, dt):
        for name, rest in self.rest.items():
            rest += dt * self.p[f"{name}_decay"]
            self.rates[name] = (self.rates[name] * self.power[(rest >> 30) % 1024] >> 16) >> min(60, rest >> 40)
            self.rest[name] = rest % 2**30
        self.time += dt

    def until(self, grid):
        """Candidates of the thinned process up to the next second."""
        p = self.p
        while self.time < grid:
            before = sum(self.rates.values())
            r = next(self.random)
            ones = next((k for k in range(20) if not r >> 44 + k & 1), 20)
            wait = 45426 * ones + self.exponential[r % 1024]
            dt = (wait * SECOND >> 4) // before
            bound = grid if self.shock is None else self.shock[0]
            if self.time + dt >= bound:
                self.decay(bound - self.time)
                if self.shock is not None:
                    _, size, jump = self.shock
                    self.shock = None
                    size = min(size, p["rate_cap"])
                    self.rates["fast"] = max(self.rates["fast"], size)
                    self.rates["medium"] += size * p["shock_medium"] >> 16
                    self.shift(jump)
                continue
            self.decay(dt)
            if (r >> 12 & 0xFFFFFF) * before > sum(self.rates.values()) * 2**24:
                continue
            if self.rates["fast"] < p["rate_cap"]:
                for name in ("fast", "medium", "slow"):
                    self.rates[name] += p[f"{name}_add"]
            self.take(self.time // 10**8 + 1)
            self.event(next(self.random))

    def show(self, kind, price, size):
        self.events.append((self.time, kind, self.bid, self.ask, self.sizes[-1], self.sizes[1], price, size))

    def move(self, side, ticks):
        if side < 0:
            self.bid += ticks
        else:
            self.ask += ticks

    def shown(self, size, side):
        """Whole lots, more of them on the parent's side."""
        size = size * (65536 - side * self.parent * self.p["parent_lean"]) >> 16
        return max(self.p["lot"], size // self.p["lot"] * self.p["lot"])

    def event(self, r):
        p, lot = self.p, self.p["lot"]
        u = [r >> 16 * k & 0xFFFF for k in range(4)]
        spread = self.ask - self.bid
        z = (self.value - (self.ask + self.bid) * 2**15) * p["pull"] >> 16
        z = max(-p["pull_cap"], min(p["pull_cap"], z))
        emptied = 0
        if u[0] < p["trade"] and spread > 0:
            inside = spread > 1 and u[3] % 256 < p["inside"]
            emptied = self.trade(u, z, inside, spread, mix(r))
            if inside:
                return
        elif abs(z) == p["pull_cap"] and spread > 0:
            if spread > p["spread"]:
                self.improve(-1 if z > 0 else 1, r, u[3], spread)
            else:
                emptied = 1 if z > 0 else -1
        elif spread > 1 and u[1] < min(62000, (spread - 1) * p["improve"]):
            self.improve(-1 if u[2] < 32768 + (z * p["improve_pull"] >> 16) + self.last_move * p["follow"] else 1, r, u[3], spread)
        elif spread == 1 and u[1] < p["lock"] and abs(z) > 58000:
            side, ticks = (-1 if z > 0 else 1), 1 + (u[2] % 256 < p["cross"])
            self.move(side, -side * (ticks if side < 0 else min(ticks, self.ask - 1)))
            self.sizes[side] = max(lot, self.queue[r >> 40 & 255] // 4 // lot * lot)
            self.last_move = -side
            self.rates["fast"] = max(self.rates["fast"], min(12 * p["kick"], p["rate_cap"]))
        else:
            emptied = self.resize(u, z, spread)
        if emptied:
            gap, w = 1, u[0]
            while gap < 30 and w % 256 < p["gap"]:
                gap, w = gap + 1, (w * 25173 + 13849) % 65536
            if emptied < 0:
                gap = min(gap, self.bid - 1)
            self.last_move, self.fleeting[emptied] = emptied, 0
            self.move(emptied, emptied * gap)
            self.sizes[emptied] = self.shown(self.queue[r >> 20 & 255], emptied)
            self.sizes[-emptied] = max(self.sizes[-emptied], lot)
            if u[2] % 256 < p["both"]:
                self.move(-emptied, emptied * gap)
                self.sizes[-emptied] = self.shown(self.queue[r >> 36 & 255] // 2, -emptied)
            self.rates["fast"] = max(self.rates["fast"], min(self.kick[r >> 28 & 255] * p["kick"] >> 4, p["rate_cap"]))
        self.show(QUOTE, 0, 0)

    def improve(self, side, r, w, spread):
        ticks = 1
        while ticks < spread - 1 and w % 256 < self.p["improve_step"]:
            ticks, w = ticks + 1, (w * 25173 + 13849) % 65536
        self.sizes[side] = self.shown(self.queue[r >> 40 & 255] // 2, side)
        self.move(side, -side * ticks)

    def side(self, u, z, more):
        p = self.p
        if self.left <= 0:
            self.parent = 1 if more >> 8 & 1 else -1
            self.left = self.lengths[more & 255]
            self.shift(self.parent * self.roots[more & 255] * p["parent_jump"] >> 4)
        if more >> 16 & 255 < p["parent"]:
            self.left -= 1
            return self.parent
        return 1 if u[1] < 32768 + (z * p["trade_pull"] >> 16) else -1

    def trade(self, u, z, inside, spread, more):
        p, lot = self.p, self.p["lot"]
        side = self.side(u, z, more)
        price = self.ask if side > 0 else self.bid
        if inside:
            price -= side * (1 + ((u[3] >> 8) * (spread - 1) >> 9))
        elif u[3] % 256 >= 256 - p["outside"]:
            price = max(1, price + side)
        prints, w = 1, u[2]
        while prints < 24 and w % 256 < p["prints"]:
            prints, w = prints + 1, (w * 40503 + 12345 >> 3) % 65536
        sweep = u[2] < p["sweep"]
        w, emptied = u[3], 0
        for _ in range(16 * prints if sweep else prints):
            w = (w * 25173 + 13849) % 65536
            size = self.trade_size[w >> 8]
            self.show(TRADE, price, size)
            if not inside and not emptied:
                self.sizes[side] -= lot * math.ceil(Fraction(size * p["drain"] >> 8, lot))
                if min(self.sizes.values()) < lot:
                    emptied = side
                    if not sweep:
                        break
        return emptied

    def resize(self, u, z, spread):
        p, lot = self.p, self.p["lot"]
        side = -1 if (u[1] < 32768 if spread > 0 else self.last_move < 0) else 1
        size, fleeting = self.sizes[side], self.fleeting[side]
        lean = (z * p["queue_pull"] >> 16) + self.parent * p["parent_lean"]
        target = p["queue"] * max(1500, 65536 - side * lean) >> 16
        change = self.change[u[3] >> 8]
        emptied = 0
        if fleeting > 0:
            size -= max(0, min(fleeting, size - lot))
            fleeting = 0
        elif u[0] * 13 % 256 < p["fleeting"] and spread > 0:
            size, fleeting = size + change, change
        elif u[2] * (target + size) < (target + size) * 32768 + p["revert"] * (target - size) and spread > 0:
            if size < Fraction(target, 4):
                change = max(change, (target - size) * p["refill"] >> 16)
            size += change // lot * lot
        else:
            beyond = max(0, side * z)  # the value is beyond this side
            level = p["cancel_level"] + (beyond * p["cancel_pull"] >> 16)
            size = 0 if u[3] % 256 < level else size - max(lot, min(change, p["cancel_cap"]) // lot * lot)
            if size < lot:
                emptied, fleeting = side, 0
        self.sizes[side], self.fleeting[side] = size, fleeting
        return emptied


def market(hub_p, shock, symbols, parents, exponential, power, day, spans):
    """Rows (ts, symbol, kind, bid, ask, bid_size, ask_size, price, size) of all symbols in time, ties in symbol order.

    symbols: (parameters, opening state, tables, pauses) of each; spans: (first, last + 1) second of each session on the clock."""
    rows = hub(hub_p, shock, [second for span in spans for second in range(*span)])
    events = []
    for k, (p, state, tables, pauses) in enumerate(symbols):
        twin = Symbol(p, state, tables, pauses, parents, exponential, power, day)
        for begin, end in spans:
            twin.run(hub_p["key"], rows, begin, end)
        for i, (ts, *rest) in enumerate(twin.events):
            events.append((ts, k, i, *rest))
    return [(ts, k, *rest) for ts, k, _, *rest in sorted(events, key=lambda e: e[:3])]
