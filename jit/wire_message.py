"""Market-data messages of the IBKR wire as records: what a decoded frame says, and the tables by which it is read.

Message and field tables are those of IBKR's TWS API at server versions 157 to 178, as ib_async 2.1 reads them (its `Decoder`). The
strict decoder of one frame is in wire_judge.py, the walk over frames and the quick way for usual ones in wire.py."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel, record

MAX_FIELDS = 16  # field ends that are remembered; the longest message of ours has 12

# Outcomes of a frame.
DECODED, FORWARDED, LATE, BAD, PRIVATE = 0, 1, 2, 3, 4

# Reasons of a bad frame; the texts are in this order.
NO_NUL, FIELD_COUNT, TBT_TYPE, NEGATIVE_SIZE, TIME_RANGE, LOST_FRAMING, CUT_OFF, NOT_A_TIME, OUT_OF_RANGE, NO_ID = 1, 2, 5, 6, 7, 8, 9, 10, 12, 13
REASONS = (
    "", "no final NUL", "wrong field count", "not a number", "unusual number", "unknown type of tick by tick", "negative size", "time outside 2000 to 2100",
    "framing lost", "cut off", "not a date or time", "not finite", "code out of range", "no message id",
)  # fmt: skip

# What a message says of its symbol. Prices in currency, sizes in shares or contracts; NaN = missing.
(
    NOTHING,  # no more than its own values
    QUOTE_PRICE,  # price and quantity of one side; `empty`: the size was not given
    QUOTE_SIZE,  # quantity of one side
    LAST_PRICE,
    VOLUME,  # cumulative: mantissa and scale
    RT_VOLUME,  # price, quantity and time (ms) of the last trade, cumulative volume as mantissa and scale, more[0] = day's VWAP
    BID_ASK,  # tick by tick: price and quantity of the bid, ask and ask_size, time (s)
    LAST_TRADE,  # tick by tick: price, quantity, time (s), code = exchange, code2 = conditions
    MIDPOINT,  # tick by tick: price, time (s)
    DEPTH,  # time = position, attributes = operation (0 insert 1 update 2 delete) | smart depth << 8, price, quantity, code = market maker
    BAR,  # of 5 s from `time` (s) on: price, quantity, ask, ask_size = open, high, low, close; more[0:3] = volume, WAP, count
    GREEK,  # price iv, quantity delta, ask gamma, ask_size vega; more = theta, option price, price of the underlying, present value of dividends
    HALT,  # price = -1 unknown, 0 not halted, 1 general halt, 2 volatility halt
    DATA_TYPE,  # tick_type = 1 live, 2 frozen, 3 delayed, 4 delayed and frozen
    LAST_TIME,  # time (s) of the last trade
    EXCHANGE,  # code = letters of the exchanges at the bid (tick_type 32), ask (33) or last trade (84)
    RESYNC,  # no message: framing was lost and found again before the next record; quantity = bytes skipped, symbol = 0 means nothing
) = range(17)  # fmt: skip

MESSAGE = record([
    ("price", "f8"), ("quantity", "f8"), ("ask", "f8"), ("ask_size", "f8"),  # of BID_ASK price and quantity are the bid's; NaN = missing
    ("mantissa", "i8"),  # size or cumulative volume = mantissa / 10**scale
    ("time", "i8"),  # exchange time: s, of RT_VOLUME ms; 0 = not given
    ("code", "u8"), ("code2", "u8"),  # of the roles that have texts: the first eight bytes as they stand, first byte lowest, NUL behind
    ("more", "f8", (4,)),  # of the roles that have more numbers
    ("at", "i8"), ("req_id", "i8"),  # offset of the frame
    ("symbol", "i4"), ("attributes", "i4"),
    ("tick_type", "i4"),  # the live one also where the message has its delayed twin; of tick-by-tick its type 1 to 4
    ("id", "u1"), ("role", "u1"), ("side", "u1"), ("scale", "u1"),  # side 0 bid, 1 ask
    ("empty", "u1"), ("feed", "u1"), ("outcome", "u1"), ("reason", "u1"),  # empty: a price came with an empty size
    ("delayed", "u1"),  # 1: the message's own tick type is a delayed one
])  # fmt: skip

# Delayed tick types and the live ones that they stand for.
TWINS = {
    66: 1, 67: 2, 68: 4, 69: 0, 70: 3, 71: 5, 72: 6, 73: 7, 74: 8, 75: 9, 76: 14, 80: 10, 81: 11, 82: 12, 83: 13, 88: 45, 90: 49, 103: 50, 104: 51,
}  # fmt: skip
TYPES = 128  # tick types with a place in the tables; larger ones say nothing
LIVE_TYPE, DELAYED_TYPE = np.arange(TYPES, dtype=np.uint8), np.zeros(TYPES, np.uint8)
PRICE_ROLE, SIZE_ROLE, ROLE_SIDE = np.zeros(TYPES, np.uint8), np.zeros(TYPES, np.uint8), np.zeros(TYPES, np.uint8)
PRICE_ROLE[[1, 2, 4]] = QUOTE_PRICE, QUOTE_PRICE, LAST_PRICE
SIZE_ROLE[[0, 3, 8]] = QUOTE_SIZE, QUOTE_SIZE, VOLUME
ROLE_SIDE[[2, 3]] = 1
for _delayed, _live in TWINS.items():
    LIVE_TYPE[_delayed], DELAYED_TYPE[_delayed] = _live, 1
    for _table in (PRICE_ROLE, SIZE_ROLE, ROLE_SIDE):
        _table[_delayed] = _table[_live]
AUCTION_IMBALANCE, REGULATORY_IMBALANCE = 36, 61  # the sizes that have a sign

FIRST_SECOND, LAST_SECOND = 946_684_800, 4_102_444_800  # 2000 and 2100

# Server versions from which on something of this table changes, up to the last one that speaks text.
VERSIONS = (157, 163, 166, 178)
WHOLE_SIZES = 0  # the row of versions at which a size is a whole number


def version_row(server_version):
    """Row of the tables for a negotiated server version."""
    return max(sum(v <= server_version for v in VERSIONS) - 1, 0)


@kernel("MESSAGE", inline=True)
def no_quote(m):
    """Price -1 or 0 with size 0 is IBKR's "no quote"; read as a price it would drag the mid below zero."""
    if m.quantity == 0.0 and (m.price == -1.0 or m.price == 0.0):
        m.price = m.quantity = np.nan


@kernel("MESSAGE", inline=True)
def no_ask(m):
    """The same for the ask of a BID_ASK message."""
    if m.ask_size == 0.0 and (m.ask == -1.0 or m.ask == 0.0):
        m.ask = m.ask_size = np.nan
