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


def hub(p, shock, steps):
    """One dict a step of the hub."""
    out, slow, fast = [], 0, 0
    for step in range(steps):
        z = [mix(p["key"] ^ mix(16 * step + k)) for k in range(11)]
        slow += -(slow * p["slow_decay"] >> 20) + (normal(z[8]) * p["slow_step"] >> 16)
        fast += -(fast * p["fast_decay"] >> 20) + (normal(z[9]) * p["fast_step"] >> 16)
        row = {"market": normal(z[0]), "sector": [normal(x) for x in z[1:8]], "slow": slow >> 8, "fast": fast >> 8}
        row |= {"shock": 0, "jump": 0, "delay": 0}
        if z[10] >> 32 < p["shock"]:
            row["shock"] = 16 * shock[z[10] & 255]
            row["jump"] = row["shock"] * (1 if z[10] >> 8 & 1 else -1)
            row["delay"] = 190 * (z[10] >> 9 & 0x7FFFF)
        out.append(row)
    return out


class Symbol:
    """One symbol from the start on; `events` are (ts, kind, bid, ask, bid_size, ask_size, price, size) in ticks and shares."""

    def __init__(self, p, state, tables, exponential, power, day):
        self.p, self.power, self.exponential, self.day = p, power, exponential, day
        self.trade_size, self.change, self.queue, self.kick = tables
        self.random = xoshiro([state[f"random{i}"] for i in range(4)])
        self.bid, self.ask, self.sizes = state["bid"], state["ask"], {-1: state["bid_size"], 1: state["ask_size"]}  # -1 bid, 1 ask
        self.value, self.time = state["value"], 0
        self.rates, self.rest = {"own": state["rate"], "fast": 0, "medium": 0, "slow": 0}, {"fast": 0, "medium": 0}
        self.average = {"market": 0, "sector": 0}
        self.process, self.shock = 0, None
        self.direction, self.repeats, self.last_move = 0, 0, 0
        self.fleeting = {-1: 0, 1: 0}
        self.events = []

    def run(self, hub_rows, end):
        self.show(0, 0, 0)
        while self.time < end:
            self.at_step(self.time // 10**8, hub_rows[self.time // 10**8])
            self.until(self.time + 10**8)
        return self.events

    def two_to(self, y):
        y = max(-14 * 65536, min(14 * 65536, y))
        whole, part = divmod(y, 65536)
        b = 2 * self.power[1023 - part // 64]
        return b << whole if whole >= 0 else b >> -whole

    def at_step(self, step, row):
        p = self.p
        self.rates["slow"] -= self.rates["slow"] * p["slow_decay"] >> 20
        self.process += -(self.process * p["own_decay"] >> 20) + (normal(mix(p["key"] ^ mix(2 * step))) * p["own_step"] >> 16)
        parts = {"slow": row["slow"], "fast": row["fast"], "own": self.process >> 8}
        level = sum(x * p[f"weight_{name}"] >> 16 for name, x in parts.items())
        second = step // 10 % 23400
        part, rest = divmod(second * 12, 23400)
        activity, volatility = (a[part] + (a[part + 1] - a[part]) * rest // 23400 for a in self.day)
        self.rates["own"] = max(40, (p["rate"] * self.two_to(level) >> 16) * activity >> 16)
        scale = self.two_to(level * p["value_vol"] >> 16) * volatility >> 16
        for name, x in (("market", row["market"]), ("sector", row["sector"][p["sector"]])):
            self.average[name] += (x - self.average[name]) * p["lag"] >> 16
        own = normal(mix(p["key"] ^ mix(2 * step + 1)))
        move = self.average["market"] * p["beta_market"] + self.average["sector"] * p["beta_sector"] + own * p["beta_own"] >> 16
        self.value = max(2 * 65536, self.value + ((move * scale >> 16) * p["value_step"] >> 20))
        if row["shock"]:
            z = mix(p["key"] ^ mix(3_000_000_000 + step))
            at = min(self.time + row["delay"] + (z & 0x3FFFFF), (step + 1) * 10**8 - 1)
            size = (row["shock"] * p["shock"] >> 8) * self.kick[z >> 32 & 255] >> 7 if z >> 24 & 1 else 0
            self.shock = at, size, row["jump"] * p["shock_jump"] >> 8 if z >> 24 & 1 else 0

    def decay(self, dt):
        for name, rest in self.rest.items():
            rest += dt * self.p[f"{name}_decay"]
            self.rates[name] = (self.rates[name] * self.power[(rest >> 30) % 1024] >> 16) >> min(60, rest >> 40)
            self.rest[name] = rest % 2**30
        self.time += dt

    def until(self, grid):
        """Candidates of the thinned process up to the next step."""
        p = self.p
        while self.time < grid:
            before = sum(self.rates.values())
            r = next(self.random)
            ones = next((k for k in range(20) if not r >> 44 + k & 1), 20)
            wait = 45426 * ones + self.exponential[r % 1024]
            dt = (wait * 10**9 >> 4) // before
            bound = grid if self.shock is None else self.shock[0]
            if self.time + dt >= bound:
                self.decay(bound - self.time)
                if self.shock is not None:
                    _, size, jump = self.shock
                    self.shock = None
                    size = min(size, p["rate_cap"])
                    self.rates["fast"] = max(self.rates["fast"], size)
                    self.rates["medium"] += size * p["shock_medium"] >> 16
                    self.value = max(2 * 65536, self.value + jump)
                continue
            self.decay(dt)
            if (r >> 12 & 0xFFFFFF) * before > sum(self.rates.values()) * 2**24:
                continue
            if self.rates["fast"] < p["rate_cap"]:
                for name in ("fast", "medium", "slow"):
                    self.rates[name] += p[f"{name}_add"]
            self.event(next(self.random))

    def show(self, kind, price, size):
        self.events.append((self.time, kind, self.bid, self.ask, self.sizes[-1], self.sizes[1], price, size))

    def move(self, side, ticks):
        if side < 0:
            self.bid += ticks
        else:
            self.ask += ticks

    def event(self, r):
        p, lot = self.p, self.p["lot"]
        u = [r >> 16 * k & 0xFFFF for k in range(4)]
        spread = self.ask - self.bid
        z = (self.value - (self.ask + self.bid) * 2**15) * p["pull"] >> 16
        z = max(-p["pull_cap"], min(p["pull_cap"], z))
        emptied = 0

        def shown(shift, share):
            return max(lot, (self.queue[r >> shift & 255] // share) // lot * lot)

        if u[0] < p["trade"] and spread > 0:
            inside = spread > 1 and u[3] % 256 < p["inside"]
            emptied = self.trade(u, z, inside, spread)
            if inside:
                return
        elif spread > 1 and u[1] < min(62000, (spread - 1) * p["improve"]):
            side = -1 if u[2] < 32768 + (z * p["improve_pull"] >> 16) + self.last_move * p["follow"] else 1
            ticks, w = 1, u[3]
            while ticks < spread - 1 and w % 256 < p["improve_step"]:
                ticks, w = ticks + 1, (w * 25173 + 13849) % 65536
            self.move(side, -side * ticks)
            self.sizes[side] = shown(40, 2)
        elif spread == 1 and u[1] < p["lock"] and abs(z) > 58000:
            side = -1 if z > 0 else 1
            self.move(side, -side)
            self.sizes[side] = shown(40, 4)
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
            self.sizes[emptied] = shown(20, 1)
            self.sizes[-emptied] = max(self.sizes[-emptied], lot)
            if u[2] % 256 < p["both"]:
                self.move(-emptied, emptied * gap)
                self.sizes[-emptied] = shown(36, 2)
            self.rates["fast"] = max(self.rates["fast"], min(self.kick[r >> 28 & 255] * p["kick"] >> 4, p["rate_cap"]))
        self.show(0, 0, 0)

    def trade(self, u, z, inside, spread):
        p, lot = self.p, self.p["lot"]
        if self.repeats:
            self.repeats -= 1
        else:
            self.direction = 1 if u[1] < 32768 + (z * p["trade_pull"] >> 16) else -1
            if u[1] % 256 < p["run"]:
                self.repeats = u[3] & p["run_mask"]
        price = self.ask if self.direction > 0 else self.bid
        if inside:
            price = self.bid + 1 + ((u[3] >> 8) * (spread - 1) >> 8)
        elif u[3] % 256 >= 256 - p["outside"]:
            price = max(1, price + self.direction)
        prints, w = 1, u[2]
        while prints < 24 and w % 256 < p["prints"]:
            prints, w = prints + 1, (w * 40503 + 12345 >> 3) % 65536
        w = u[3]
        for _ in range(prints):
            w = (w * 25173 + 13849) % 65536
            size = self.trade_size[w >> 8]
            self.show(1, price, size)
            if not inside:
                self.sizes[self.direction] -= lot * math.ceil(Fraction(size * p["drain"] >> 8, lot))
                if min(self.sizes.values()) < lot:
                    return self.direction
        return 0

    def resize(self, u, z, spread):
        p, lot = self.p, self.p["lot"]
        side = -1 if (u[1] < 32768 if spread > 0 else self.last_move < 0) else 1
        size, fleeting = self.sizes[side], self.fleeting[side]
        target = p["queue"] * max(1500, 65536 - side * (z * p["queue_pull"] >> 16)) >> 16
        change = self.change[u[3] >> 8]
        emptied = 0
        if fleeting > 0:
            size -= max(0, min(fleeting, size - lot))
            fleeting = 0
        elif u[0] * 13 % 256 < p["fleeting"] and spread > 0:
            size, fleeting = size + change, change
        elif u[2] * (target + size) < (target + size) * 32768 + p["revert"] * (target - size) and spread > 0:
            size += change
        else:
            beyond = side * z  # the value is beyond this side
            level = p["cancel_level"] + (beyond * p["cancel_pull"] >> 16 if beyond > 0 else 0)
            size = 0 if u[3] % 256 < level else size - min(change, p["cancel_cap"])
            if size < lot:
                emptied, fleeting = side, 0
        self.sizes[side], self.fleeting[side] = size, fleeting
        return emptied


def market(hub_p, shock, symbols, exponential, power, day, seconds):
    """Rows (ts, symbol, kind, bid, ask, bid_size, ask_size, price, size) of all symbols in time, ties in symbol order.

    symbols: (parameters, opening state, tables) of each."""
    rows = hub(hub_p, shock, 10 * seconds)
    events = []
    for k, (p, state, tables) in enumerate(symbols):
        for i, (ts, *rest) in enumerate(Symbol(p, state, tables, exponential, power, day).run(rows, seconds * 10**9)):
            events.append((ts, k, i, *rest))
    return [(ts, k, *rest) for ts, k, _, *rest in sorted(events, key=lambda e: e[:3])]
