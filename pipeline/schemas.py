"""Tables, their columns and units, and the enums of their integer columns. Everything here is append-only (design contract 10):
a recorded session is read with these numbers for years."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class Kind(IntEnum):
    """What a row of TICKS is."""

    QUOTE = 0
    TRADE = 1


class Feed(IntEnum):
    """Where a row of TICKS comes from."""

    L1 = 0  # reqMktData, conflated by IBKR
    TBT_LAST = 1
    TBT_ALL = 2
    TBT_BIDASK = 3
    FILE = 4  # read directly, no wire between
    TBT_MID = 5
    DEPTH = 6  # rows of DEPTH
    BAR_5S = 7  # rows of BARS


class Flag(IntFlag):
    """Properties of a row of TICKS."""

    CONFLATED = 1  # a trade seen as an increase of the day volume
    PAST_LIMIT = 2
    UNREPORTED = 4
    DELAYED = 8  # 15 to 20 minutes late
    FROZEN = 16  # the last quote of a closed market
    HALTED = 32
    PRE_OPEN = 64
    UNCERTAIN = 128  # data was lost, and the quote is not refreshed since
    STALE = 256  # the subscription is silent for longer than it should be
    BID_PAST_LOW = 512
    ASK_PAST_HIGH = 1024
    AUTO_EXECUTE = 2048
    GAP = 4096  # the symbol's first row after data was lost


class Side(IntEnum):
    """Side of an order or fill; the sign of the position change."""

    SELL = -1
    BUY = 1


class Reason(IntEnum):
    """Why a decision sends an order, or why not."""

    ORDER = 0  # target differs from the position: an order was sent
    NO_QUOTE = 1  # a side of the quote is missing
    CROSSED = 2  # bid above ask
    WARMING_UP = 3  # too few outcomes or no volatility yet
    EDGE_BELOW_COST = 4  # |value| - cost <= hurdle x cost
    AT_TARGET = 5  # position is already the target
    ORDER_WORKING = 6  # an order of the symbol is still open
    NAME_CAP = 7  # the per-name cap, the volatility target or Kelly leaves less than a lot
    GROSS_CAP = 8  # the gross cap leaves nothing
    CANCEL = 9  # the working order is too old and is cancelled
    HORIZON_OVER = 10  # the forecast's horizon has passed: position closed
    KILLED = 11  # the kill switch is on
    NOT_LIVE = 12  # the quote is delayed, frozen, stale or uncertain, or the link is down
    HALTED = 13
    NET_CAP = 14  # the net cap leaves nothing
    SECTOR_CAP = 15  # the cap of its sector leaves nothing
    PARTICIPATION_CAP = 16  # its share of the daily volume is less than a lot
    DRAWDOWN = 17  # the drawdown throttle lets nothing be opened
    BELOW_MINIMUM = 18  # the order's value is below the least
    RESTRICTED = 19  # the symbol is on a list: no order, or none that opens
    RESTART_WINDOW = 20  # the gateway's daily restart: no order
    LOSS_STOP = 21  # the daily loss stop is on: nothing is opened
    SESSION_WINDOW = 22  # out of hours, or too near to the begin or end of a session: nothing is opened
    OLD_QUOTE = 23  # the quote in force is older than it may be
    PRICE_COLLAR = 24  # the limit price is too far from the mid or from the last trade
    ORDER_SIZE = 25  # too many shares
    ORDER_VALUE = 26
    POSITION_LIMIT = 27  # the position would be too large, in shares or in value
    GROSS_LIMIT = 28
    NET_LIMIT = 29
    ORDER_RATE = 30  # too many orders in the last second or minute
    NOT_TURNED = 31  # a limit does not let the position be turned round: it is closed
    SELF_CROSS = 32  # it would trade with an order of our own that works; the router's only
    UNSETTLED = 33  # orders and positions are not compared with the gateway; the router's only
    REFUSED = 34  # another check of the router


class Gate(IntFlag):
    """What an order has to pass; set = passed. From EDGE on a gate is asked only if those before it passed."""

    ALIVE = 1  # no kill switch
    TRADING = 2  # not halted
    LIVE = 4  # quote and link
    QUOTED = 8  # both sides, not crossed
    FREE = 16  # no working order
    FORECAST = 32  # a horizon could be judged
    DRAWDOWN = 64  # the throttle leaves something
    VOLUME = 128  # the share of the daily volume is a lot or more
    EDGE = 256  # |value| - cost above hurdle x cost
    SIZE = 512  # a lot or more
    BAND = 1024  # outside the inaction band around the position
    BOOK = 2048  # gross, net and sector caps leave room
    VALUE = 4096  # the order's value is the least or more
    LIMITS = 8192  # no pre-trade limit is broken; asked also where a position is closed


class OrderState(IntEnum):
    """Life of an order."""

    INTENT = 0  # decided, not yet given to the gateway
    CANCEL_INTENT = 1
    SENT = 2
    SUBMITTED = 3  # acknowledged by the gateway
    FILLED = 4
    CANCELLED = 5
    REJECTED = 6


PARTS = 1 << 48  # the parts of a bracket have the key of their entry and once (profit) or twice (stop) this


class ControlKind(IntEnum):
    """Inputs that are not market data (design contract 7)."""

    EXECUTION = 0  # exec_id 0, key 0: a position of earlier runs or of somebody else is taken over
    COMMISSION = 1
    ORDER_STATE = 2
    KILL = 3  # value 0: it is off again, where a run goes on with its session
    TIMER = 4
    MODEL_SWAP = 5  # set `value` of the session's list decides from now on, for the symbol or (-1) for all
    LIMIT = 6
    HEALTH = 7  # of a symbol's data (symbol -1: of the link); value = Health
    DEPTH_RESET = 8  # IBKR's 317: the depth book of the symbol begins anew
    RESYNC = 9  # framing was lost and found again outside the decoder; value = bytes skipped
    SUBSCRIBE = 10  # frames of reqId `key` are of the symbol from now on; value = Feed
    UNSUBSCRIBE = 11  # later frames of reqId `key` are late and dropped
    SERVER_VERSION = 12  # the gateway speaks version `value` from now on: another one after its restart, or other than the manifest says
    MODEL_REFUSED = 13  # a set that was promoted does not fit and is not used; value = index into the manifest's notes
    KEYS = 14  # own order keys begin at `key`: earlier runs have used those below
    THROTTLE = 15  # value = ns between two decisions of a symbol from now on
    FEWER_SYMBOLS = 16  # value 1: nothing is decided for the symbol from now on, its state goes on; 0: it is decided for again
    CLOSE = 17  # after a KILL: an order that closes the symbol's position (side, quantity, price = limit)
    LOSS_STOP = 18  # session day `key` (its begin, ns) goes on from an earlier run: gain so far `value`, loss stop on if `quantity` is 1
    REARM = 19  # a KILL counts no more: the run goes on from the state of one that was killed, or that ended


class Health(IntEnum):
    """What the gateway says of a symbol's data, or of the link."""

    LIVE = 0
    STALE = 1  # silent for longer than it should be
    LOST = 2  # known to be dead: link down, subscription lost; it is asked for again
    DISPLACED = 3  # another session has the market data (10197)
    REFUSED = 4  # not subscribed, no permission, no line left: asking again does not help


def _schema(name: str, *columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    fields = [pa.field(c, t, nullable=False, metadata={"unit": unit}) for c, t, unit in columns]
    return pa.schema(fields, metadata={"table": name})


SEQ = ("seq", pa.uint64(), "row number of TICKS")
TS = ("ts", pa.int64(), "ns UTC, arrival")
SYMBOL = ("symbol", pa.int32(), "row of the universe")

TICKS = _schema(
    "ticks", SEQ, TS, ("ts_exch", pa.int64(), "ns UTC, exchange; 0 = not given"), ("chunk", pa.uint64(), "piece of received bytes"), SYMBOL,
    ("kind", pa.uint8(), "Kind"), ("feed", pa.uint8(), "Feed"), ("flags", pa.uint16(), "Flag"),
    ("bid", pa.float64(), "currency"), ("bid_size", pa.float64(), "shares"), ("ask", pa.float64(), "currency"), ("ask_size", pa.float64(), "shares"),
    ("price", pa.float64(), "currency, trade"), ("size", pa.float64(), "shares, trade"),
)  # fmt: skip

DEPTH = _schema(
    "depth", ("seq", pa.uint64(), "rows of TICKS before it"), TS, ("chunk", pa.uint64(), "piece of received bytes"), SYMBOL,
    ("flags", pa.uint16(), "Flag: GAP = the change does not fit the book, UNCERTAIN = the book is not refreshed since"),
    ("position", pa.int32(), "level from the best, 0 first"), ("operation", pa.uint8(), "0 insert, 1 update, 2 delete"),
    ("side", pa.uint8(), "0 bid, 1 ask"), ("smart", pa.uint8(), "1 = of several exchanges, code is the exchange"),
    ("price", pa.float64(), "currency"), ("size", pa.float64(), "shares"), ("code", pa.uint64(), "market maker: 8 raw bytes of text; 0 = none"),
)  # fmt: skip

BARS = _schema(
    "bars", ("seq", pa.uint64(), "rows of TICKS before it"), TS, ("chunk", pa.uint64(), "piece of received bytes"), SYMBOL,
    ("ts_open", pa.int64(), "ns UTC, exchange: begin of the bar"), ("ts_close", pa.int64(), "ns UTC, exchange: end of the bar"),
    ("flags", pa.uint16(), "Flag"),
    ("open", pa.float64(), "currency"), ("high", pa.float64(), "currency"), ("low", pa.float64(), "currency"), ("close", pa.float64(), "currency"),
    ("volume", pa.float64(), "shares"), ("wap", pa.float64(), "currency, weighted average price"), ("count", pa.float64(), "trades"),
)  # fmt: skip

GREEKS = _schema(
    "greeks", ("seq", pa.uint64(), "rows of TICKS before it"), TS, ("chunk", pa.uint64(), "piece of received bytes"), SYMBOL,
    ("kind", pa.uint8(), "computed from: 10 bid, 11 ask, 12 last, 13 model"), ("flags", pa.uint16(), "Flag"),
    ("attributes", pa.int32(), "tickAttrib: 0 return-based, 1 price-based"), ("iv", pa.float64(), "implied volatility, 1 = 100 % a year"),
    ("delta", pa.float64(), "option currency per underlying currency"), ("gamma", pa.float64(), "change of delta per underlying currency"),
    ("vega", pa.float64(), "currency per 1 % of volatility"), ("theta", pa.float64(), "currency per day"), ("opt_price", pa.float64(), "currency"),
    ("und_price", pa.float64(), "currency, underlying"), ("pv_dividend", pa.float64(), "currency, present value of dividends"),
)  # fmt: skip

DECISIONS = _schema(
    "decisions", SEQ, TS, SYMBOL, ("edge", pa.float64(), "bp of mid, signed forecast"), ("cost", pa.float64(), "bp of mid, round trip"),
    ("horizon", pa.int8(), "index of the horizon; -1 = none"), ("p_up", pa.float64(), "probability of the upper barrier first, within the horizon"),
    ("p_down", pa.float64(), "probability of the lower barrier first, within the horizon"), ("target", pa.float64(), "shares, signed"),
    ("reason", pa.uint8(), "Reason"), ("model_set", pa.uint8(), "index into the session's list"),
    ("verdict", pa.uint16(), "Gate bits that passed"), ("value", pa.float64(), "bp of mid, signed, of the edge where barriers end it"),
)  # fmt: skip

ORDERS = _schema(
    "orders", SEQ, TS, SYMBOL, ("key", pa.int64(), "own order key, in orderRef"), ("side", pa.int8(), "Side"), ("quantity", pa.float64(), "shares"),
    ("limit", pa.float64(), "currency"), ("perm_id", pa.int64(), "broker key; 0 = not known"), ("state", pa.uint8(), "OrderState"),
    ("reason", pa.uint8(), "Reason why our router has refused it; 0 = it has not"),
)  # fmt: skip

FILLS = _schema(
    "fills", SEQ, TS, SYMBOL, ("key", pa.int64(), "own order key"), ("side", pa.int8(), "Side"), ("quantity", pa.float64(), "shares"),
    ("price", pa.float64(), "currency"), ("commission", pa.float64(), "currency; NaN until reported"), ("exec_id", pa.int64(), "hash of the broker's execId"),
)  # fmt: skip

NO_CHUNK = 2**64 - 1  # `chunk` of a control event that came before the first

CONTROL = _schema(
    "control", ("chunk", pa.uint64(), "last chunk decided before the event; 2^64-1 = none was"), TS, ("kind", pa.uint8(), "ControlKind"), SYMBOL,
    ("key", pa.int64(), "own order key, or reqId"), ("side", pa.int8(), "Side"), ("state", pa.uint8(), "OrderState"),
    ("quantity", pa.float64(), "shares"), ("price", pa.float64(), "currency"), ("value", pa.float64(), "as the kind says"),
    ("perm_id", pa.int64(), "broker key"), ("exec_id", pa.int64(), "hash of the broker's execId"),
)  # fmt: skip

TIMING = _schema(
    "timing", SEQ, ("decode", pa.int64(), "ns"), ("features", pa.int64(), "ns"), ("predict", pa.int64(), "ns"), ("decide", pa.int64(), "ns"),
    ("tick_to_decision", pa.int64(), "ns, arrival stamp to after act"),
)  # fmt: skip


def features_schema(columns: Sequence[str], digest: str) -> pa.Schema:
    """FEATURES with the ordered columns of the matrix `x` and their digest in its metadata."""
    x = pa.field("x", pa.list_(pa.field("item", pa.float32(), nullable=False), len(columns)), nullable=False, metadata={"columns": ",".join(columns)})
    return pa.schema([*_schema("", SEQ, TS, SYMBOL), x], metadata={"table": "features", "digest": digest})


def predictions_schema(n_models: int, digest: str) -> pa.Schema:
    """PREDICTIONS of a bank of `n_models` (configuration * horizons + horizon), with the digest of the model set."""
    y = pa.field("y", pa.list_(pa.field("item", pa.float32(), nullable=False), n_models), nullable=False, metadata={"unit": "bp of mid return"})
    return pa.schema([*_schema("", SEQ, TS, SYMBOL), y], metadata={"table": "predictions", "digest": digest})


def column_digest(columns: Sequence[npt.NDArray[np.generic]]) -> str:
    """BLAKE2b-128 over columns in order: little-endian bytes, one NaN (design contract 8)."""
    h = hashlib.blake2b(digest_size=16)
    for column in columns:
        a = np.ascontiguousarray(column)
        if a.dtype.kind == "f":
            a = np.where(np.isnan(a), a.dtype.type(np.nan), a)
        h.update(a.astype(a.dtype.newbyteorder("<"), copy=False).tobytes())
    return h.hexdigest()
