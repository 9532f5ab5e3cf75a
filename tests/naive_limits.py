"""Slow twin of the pre-trade limits: whole histories of orders, trades and gains, local clock times, plain Python."""

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def minutes(text):
    hours, rest = text.split(":")
    return 60 * int(hours) + int(rest)


def restarting(conf, ts):
    """Whether the local clock stands between begin and end of the restart."""
    if not conf.restart:
        return False
    local = datetime.fromtimestamp(ts / 1e9, UTC).astimezone(ZoneInfo(conf.restart_zone))
    now, (begin, end) = 60 * local.hour + local.minute, map(minutes, conf.restart)
    return begin <= now < end if begin < end else now >= begin or now < end


class Limits:
    """All that happened, of a market that is always open; days are those of UTC."""

    def __init__(self, conf, names):
        self.conf, self.names = conf, names
        self.trades, self.quotes = [math.nan] * len(names), [0] * len(names)
        self.sent = []  # times of orders
        self.gains = []  # (day, gain): the first of a day is that at its begin

    def tick(self, ts, symbol, is_quote, price, gain):
        """A row of TICKS; `gain` before it."""
        day = ts // 86_400_000_000_000
        if not self.gains or self.gains[-1][0] != day:
            self.gains.append((day, gain))
        if is_quote:
            self.quotes[symbol] = ts
        else:
            self.trades[symbol] = price

    def stopped(self, gain):
        """Whether the stop is on after a decision at this gain of the book."""
        self.gains.append((self.gains[-1][0], gain))
        today = [g for day, g in self.gains if day == self.gains[-1][0]]
        return min(today) - today[0] <= -self.conf.daily_loss

    def refuse(self, ts, symbol, side, quantity, price, reach, bid, ask, stopped):
        """Name of the reason, or None; `reach`: of each symbol the positions that it may come to, in shares and in value."""
        conf, name, mid = self.conf, self.names[symbol], (bid + ask) / 2
        before = reach[symbol][0][0]
        after = before + side * quantity
        opens = not (abs(after) < abs(before) and after * before >= 0)
        gross = sum(max(abs(v) for _, v in ends) for i, ends in enumerate(reach) if i != symbol) + abs(after) * mid
        net = sum(max(side * v for _, v in ends) for i, ends in enumerate(reach) if i != symbol) + side * after * mid
        trade = self.trades[symbol]
        rules = [
            ("RESTRICTED", name in conf.restricted, False),
            ("RESTART_WINDOW", restarting(conf, ts), False),
            ("LOSS_STOP", stopped, True),
            ("RESTRICTED", name in conf.close_only, True),
            ("OLD_QUOTE", ts - self.quotes[symbol] > conf.quote_age_s * 1e9, False),
            ("PRICE_COLLAR", side * (price - mid) > mid * conf.collar_quote / 1e4, False),
            ("PRICE_COLLAR", trade > 0 and side * (price - trade) > trade * conf.collar_trade / 1e4, False),
            ("ORDER_SIZE", quantity > conf.order_shares, True),
            ("ORDER_VALUE", quantity * price > conf.order_value, True),
            ("POSITION_LIMIT", abs(after) > conf.position_shares or abs(after) * mid > conf.position_value, True),
            ("GROSS_LIMIT", gross > conf.gross_value, True),
            ("NET_LIMIT", net > conf.net_value, True),
            ("ORDER_RATE", conf.per_second and sum(t > ts - 10**9 for t in self.sent) >= conf.per_second, False),
            ("ORDER_RATE", conf.per_minute and sum(t > ts - 60 * 10**9 for t in self.sent) >= conf.per_minute, False),
        ]
        for reason, broken, opening_only in rules:
            if broken and (opens or not opening_only):
                return reason
        self.sent.append(ts)
        return None
