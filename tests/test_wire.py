"""Frames of the wire: numbers, the quick and the strict decoder, the walk, and which bytes are for others."""

from __future__ import annotations

import math
import random
import re
from decimal import Decimal

import naive_wire as naive
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickarrow.jit import wire, wire_decimal, wire_fields, wire_message
from tickarrow.jit.wire_message import REASONS

T = 1_700_000_000
ROLES = [
    "", "price", "size", "last", "volume", "rtvolume", "bidask", "trade", "midpoint", "depth", "bar", "greek", "halt", "data type", "last time", "exchange",
]  # fmt: skip
SIDED, TIMED = {"price", "size", "depth", "exchange"}, {"rtvolume", "bidask", "trade", "midpoint", "depth", "bar", "last time"}


@pytest.fixture(autouse=True)
def wrap():
    """Without the JIT the bit tricks wrap around in NumPy scalars."""
    with np.errstate(over="ignore"):
        yield


def padded(data: bytes) -> np.ndarray:
    out = np.full(len(data) + 64, 7, np.uint8)
    out[: len(data)] = np.frombuffer(data, np.uint8)
    return out


def table(ours: dict[int, int]) -> np.ndarray:
    size = max(64, 1 << (2 * len(ours)).bit_length())
    out = np.zeros(size, wire_fields.SUBSCRIPTION)
    out["req_id"] = -1
    for req_id, symbol in ours.items():
        i = req_id % size
        while out["req_id"][i] >= 0:
            i = (i + 1) % size
        out[i] = (req_id, symbol, 0, wire_fields.LIVE, 0, 0)
    return out


def decode(data: bytes, ours: dict[int, int], every: int = 0, capacity: int = 0, server_version: int = 178):
    """Records, counters and samples of one call."""
    messages = np.zeros(capacity or len(data) // 14 + 2, wire_message.MESSAGE)
    counts, samples = np.zeros(wire.N_COUNTS, np.int64), np.zeros((wire.SAMPLES, 3), np.int64)
    ends = np.zeros(wire_message.MAX_FIELDS, np.int64)
    version = wire_message.version_row(server_version)
    pos, n, status = wire.decode(padded(data), 0, len(data), 5, table(ours), every, version, messages, ends, counts, samples)
    return pos, messages[:n], status, counts, samples


def one(*fields: object):
    """Record and reason of one frame of request 7."""
    _, messages, _, _, _ = decode(naive.frame(*fields), {7: 3}, every=1)
    return messages[0], REASONS[messages[0].reason]


def said(m) -> tuple:
    """What a record says, for comparison with the twin."""
    what = ROLES[m["role"]]
    values = [float(m[n]) for n in ("price", "quantity", "ask", "ask_size")]
    volume = Decimal(int(m["mantissa"])).scaleb(-int(m["scale"])) if what in ("volume", "rtvolume") else 0
    return common(
        what, int(m["req_id"]), int(m["tick_type"]), bool(m["delayed"]), int(m["side"]), values, volume, int(m["time"]), int(m["attributes"]), bool(m["empty"]),
        (int(m["code"]), int(m["code2"])), [float(x) for x in m["more"]],
    )  # fmt: skip


def expected(s: naive.Said) -> tuple:
    values = [*s.values, *[math.nan] * (4 - len(s.values))]
    if s.what in ("size", "volume"):
        values = [math.nan, s.values[0], math.nan, math.nan]
    return common(s.what, s.req_id, s.type, s.delayed, s.side, values, s.volume, s.time, s.attributes, s.empty, s.codes, s.more)


def common(what, req_id, kind, delayed, side, values, volume, time, attributes, empty, codes, more) -> tuple:
    """What counts of a message: the quick decoder fills no more."""
    n = {"price": 2, "last": 2, "rtvolume": 2, "bidask": 4, "trade": 2, "midpoint": 1, "depth": 2, "bar": 4, "greek": 4, "halt": 1}.get(what, 0)
    out = (what, req_id, kind, delayed, *values[:n])
    out += (side,) if what in SIDED else ()
    out += (values[1],) if what in ("size", "volume") else ()
    out += (volume,) if what in ("volume", "rtvolume") else ()
    out += (more[0],) if what == "rtvolume" else ()
    out += (time,) if what in TIMED else ()
    out += (attributes,) if what in ("price", "last", "bidask", "trade", "depth", "greek") else ()
    out += (empty,) if what in ("price", "last") else ()
    out += codes if what in ("trade", "depth", "exchange") else ()
    return out + (tuple(more) if what in ("bar", "greek") else ())


def same(a: tuple, b: tuple) -> bool:
    return len(a) == len(b) and all(x == y or (x != x and y != y) for x, y in zip(a, b))


def mixed(n: int, seed: int, ours: int = 100) -> list[bytes]:
    """Frames as a gateway sends them, with the odd and the foreign among them."""
    r, out = random.Random(seed), []
    for k in range(n):
        q, z = r.randrange(ours + 5), r.randrange(10 ** r.randrange(1, 8))
        p = f"{r.randrange(1, 10 ** r.randrange(1, 8)) / 100:.{r.choice([0, 1, 2, 2, 2, 4])}f}"
        kind = r.random()
        if kind < 0.35:
            tick, p = r.choice([1, 2, 4, 1, 2, 4, 6, 9, 37]), r.choice([p, p, p, p, "-1", "0", "-0.25", ""])
            out.append(naive.frame(1, 6, q, tick, p, r.choice([z, z, 0, "", "12.5"]), r.randrange(4)))
        elif kind < 0.65:
            out.append(naive.frame(2, 6, q, r.choice([0, 3, 5, 8, 74]), r.choice([z, z, z, "0.001", "1234567.8901"])))
        elif kind < 0.75:
            out.append(naive.frame(99, q, r.choice([1, 2]), T + k, p, z, r.randrange(4), r.choice(["NYSE", "", "OVERNIGHT"]), r.choice(["", " O X", "   I"])))
        elif kind < 0.85:
            out.append(naive.frame(99, q, 3, T + k, p, p, z, z + 1, 0))
        elif kind < 0.88:
            out.append(naive.frame(46, 6, q, *r.choice([(45, T + k), (45, T + k), (88, T), (32, "NQP"), (84, "Z"), (59, "0.92,0.96,20260105,0.24"), (85, T)])))
        elif kind < 0.9:
            out.append(odd(r, q, p, z, k))
        elif kind < 0.93:
            out.append(naive.frame(46, 6, q, r.choice([48, 77]), f"{p};{z};{T * 1000 + k};{z * 3};{p}123456789012345;{r.choice(['true', 'false'])}"))
        elif kind < 0.96:
            out.append(naive.frame(45, 6, q, 49, r.choice([0, -1, "0.123456789012345678901"])))
        elif kind < 0.98:
            text = "a farm is " + "very " * r.randrange(30) + "well"
            others = [(4, 2, q, 2104, text, ""), (81, q, "0.01", "9c0001", 3), (9, 1, q), (15, 1, text), (10, 0, q, text, *[""] * 9, text)]
            out.append(naive.frame(*r.choice(others)))
        else:
            out.append(naive.frame(99, q, 4, T + k, p))
    return out


def odd(r: random.Random, q: int, p: str, z: int, k: int) -> bytes:
    """A message of the less frequent kinds."""
    g = [r.choice([f"{r.uniform(-1, 1)!r}", "-1", "-2", "1.7976931348623157E308", "1E-7"]) for _ in range(8)]
    return r.choice([
        naive.frame(12, 1, q, r.randrange(10), r.randrange(3), r.randrange(2), p, z),
        naive.frame(13, 1, q, r.randrange(10), r.choice(["ARCA", "ISLAND", "OVERNIGHT"]), r.randrange(3), r.randrange(2), p, z, r.randrange(2)),
        naive.frame(21, q, r.choice([10, 11, 12, 13, 80, 83, 53]), r.randrange(2), *g),
        naive.frame(50, 3, q, T + k, p, p, p, p, r.choice([z, -0, -1, f"{z}.5"]), r.choice(["150.123456789", -1]), r.choice([-1, 7, 900])),
        naive.frame(58, 1, q, r.randrange(1, 5)), naive.frame(2, 6, q, r.choice([36, 61]), -z), naive.frame(1, 6, q, 67, p, z, 3),
        naive.frame(2, 6, q, r.choice([0, 74]), r.choice(["0.5118216247002567", "1.0E7", "1E-7", "2147483647", "123456789012345678"])),
    ])  # fmt: skip


# --- numbers


def read(text: str):
    """Value, mantissa, scale and shape of a field."""
    return wire_decimal.decimal(padded(b"1234567\0" + text.encode() + b"\0"), 8, 8 + len(text))


@pytest.mark.pure
@pytest.mark.parametrize(
    ("text", "expect"),
    [
        ("150.25", (150.25, 15025, 2, 0)), ("7", (7.0, 7, 0, 0)), ("-0.5", (-0.5, -5, 1, 0)), (".5", (0.5, 5, 1, 0)), ("5.", (5.0, 5, 0, 0)),
        ("0", (0.0, 0, 0, 0)), ("-0", (0.0, 0, 0, 0)), ("123456789012345678", (123456789012345678.0, 123456789012345678, 0, 0)),
        ("1234567890123456789", (1234567890123456789.0, 0, -1, 0)), ("1e5", (1e5, 100000, 0, 0)), ("+5", (5.0, 5, 0, 0)), ("1E-7", (1e-7, 1, 7, 0)),
        ("1.0E10", (1e10, 10_000_000_000, 0, 0)), ("0.5118216247002567", (0.5118216247002567, 5118216247002567, 16, 0)),
        ("0.1234567890123456789", (0.1234567890123456789, 123456789012345678, 18, 0)), ("2.2250738585072014E-308", (2.2250738585072014e-308, 0, 18, 0)),
        ("5E-324", (5e-324, 0, 18, 0)), ("2E-324", (0.0, 0, 18, 0)), ("9007199254740993", (9007199254740992.0, 9007199254740993, 0, 0)),
        ("1.7976931348623157E308", (math.nan, 0, 0, -1)), ("1e309", (math.nan, 0, 0, 11)), ("Infinity", (math.nan, 0, 0, 11)), ("NaN", (math.nan, 0, 0, 11)),
        ("1" * 129, (math.nan, 0, 0, 4)), ("", (math.nan, 0, 0, 3)), ("-", (math.nan, 0, 0, 3)), (".", (math.nan, 0, 0, 3)), ("1.2.3", (math.nan, 0, 0, 3)),
        ("?", (math.nan, 0, 0, 3)), ("1e", (math.nan, 0, 0, 3)), ("12a", (math.nan, 0, 0, 3)), (" 1", (math.nan, 0, 0, 3)),
    ],
)  # fmt: skip
def test_number_of_a_text(text, expect):
    assert same(read(text), expect)


NUMBERS = st.one_of(st.text("0123456789.-+eE", max_size=20), st.text("0123456789.", min_size=1, max_size=9), st.decimals(-10**7, 10**7, places=4).map(str))


@pytest.mark.pure
@given(NUMBERS, st.booleans())
@example("90071992547409.93", False)
@example("9007199254740993", True)
@example("12.34.56", False)
@example("2.2.2.2", True)
@example("-.", False)
def test_quick_numbers_are_what_python_reads(text, is_size):
    data = padded(b"1234567\0" + text.encode() + b"\0")
    quick = wire_fields.size_point if is_size else wire_fields.decimal_point
    mantissa, scale, odd = quick(data, 8, 8 + len(text))
    try:
        value = naive.number(text)
    except naive.Bad:
        value = None
    if odd == 0:
        assert float(mantissa) / 10.0**scale == value
        assert not is_size or mantissa >= 0
    plain = re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", text, re.ASCII) and not (is_size and text.startswith("-")) and text != "2147483647"
    if plain and sum(c.isdigit() for c in text) <= 15:
        assert odd == 0
    value = wire_fields.integer_point(data, 8, 8 + len(text))
    assert value == (int(text) if text.isdigit() and len(text) <= 16 else -1)
    assert wire_fields.small_point(data, 8, 8 + len(text)) == value


def test_half_a_million_decimals_are_correctly_rounded():
    r = random.Random(3)
    texts = [f"{'-' if r.random() < 0.1 else ''}{r.randrange(10 ** r.randrange(1, 8))}.{r.randrange(10**k):0{k}d}" for k in r.choices(range(1, 9), k=500_000)]
    data = b"".join(naive.frame(1, 6, 7, 1, t, 1, 0) for t in texts)
    _, messages, _, counts, _ = decode(data, {7: 0})
    assert counts[wire_message.DECODED] == len(texts)
    np.testing.assert_array_equal(messages["price"], [float(t) for t in texts])


# --- one frame


@pytest.mark.pure
def test_fields_of_hand_written_frames():
    m, _ = one(1, 6, 7, 1, "150.25", 300, 1)
    assert (m.id, m.req_id, m.symbol, m.tick_type, m.role, m.side) == (1, 7, 3, 1, wire_message.QUOTE_PRICE, 0)
    assert (m.price, m.quantity, m.attributes, m.empty) == (150.25, 300.0, 1, 0)
    m, _ = one(2, 6, 7, 8, "1234567.05")
    assert (m.role, m.quantity, m.mantissa, m.scale) == (wire_message.VOLUME, 1234567.05, 123456705, 2)
    m, _ = one(99, 7, 3, T, "99.99", "100.02", 200, 500, 2)
    assert (m.role, m.time, m.price, m.ask, m.quantity, m.ask_size, m.attributes) == (wire_message.BID_ASK, T, 99.99, 100.02, 200.0, 500.0, 2)
    m, _ = one(99, 7, 2, T, "150.25", 100, 3, "NYSE", " O X")
    assert (m.role, m.tick_type, m.price, m.quantity, m.attributes) == (wire_message.LAST_TRADE, 2, 150.25, 100.0, 3)
    m, _ = one(46, 6, 7, 48, f"701.28;1;{T * 1000};67854;701.46548937;true")
    assert (m.role, m.price, m.quantity, m.time, m.mantissa, m.scale, m.more[0]) == (wire_message.RT_VOLUME, 701.28, 1, T * 1000, 67854, 0, 701.46548937)
    m, _ = one(46, 6, 7, 48, f";0;{T * 1000};67854;;false")
    assert np.isnan(m.price)
    m, reason = one(45, 6, 7, 49, "-1")
    assert (m.role, m.price, reason) == (wire_message.HALT, -1.0, "")
    m, _ = one(99, 7, 4, T, "150.5")
    assert (m.role, m.price, m.time) == (wire_message.MIDPOINT, 150.5, T)
    m, _ = one(99, 7, 1, T, "150.25", 100, 3, "OVERNIGHT", "   I")
    assert (int(m.code).to_bytes(8, "little"), int(m.code2).to_bytes(8, "little")) == (b"OVERNIGH", b"   I\0\0\0\0")
    m, _ = one(12, 1, 7, 4, 1, 0, "150.25", 300)
    assert (m.role, m.time, m.attributes, m.side, m.price, m.quantity) == (wire_message.DEPTH, 4, 1, 1, 150.25, 300.0)  # the wire's 0 is the ask
    m, _ = one(13, 1, 7, 4, "ARCA", 2, 1, 0, 0, 1)
    assert (m.role, m.time, m.attributes, m.side, int(m.code)) == (wire_message.DEPTH, 4, 2 | 1 << 8, 0, int.from_bytes(b"ARCA", "little"))
    assert np.isnan([m.price, m.quantity]).all()
    m, _ = one(50, 3, 7, T, 10, 12, 9, 11, 5000, 10.5, 42)
    assert (m.role, m.time, m.price, m.quantity, m.ask, m.ask_size, *m.more[:3]) == (wire_message.BAR, T, 10, 12, 9, 11, 5000, 10.5, 42)
    m, _ = one(21, 7, 83, 1, "0.25", "0.5", "3.5", "-1", "0.02", "-2", "-0.125", "101.5")
    assert (m.role, m.tick_type, m.delayed, m.attributes) == (wire_message.GREEK, 13, 1, 1)
    np.testing.assert_array_equal([m.price, m.quantity, m.ask, m.ask_size, *m.more], [0.25, 0.5, 0.02, np.nan, -0.125, 3.5, 101.5, np.nan])
    m, _ = one(1, 6, 7, 67, "150.5", 9, 7)
    assert (m.role, m.side, m.tick_type, m.delayed, m.price, m.attributes) == (wire_message.QUOTE_PRICE, 1, 2, 1, 150.5, 7)
    m, _ = one(45, 6, 7, 90, "1.0")
    assert (m.role, m.tick_type, m.delayed, m.price) == (wire_message.HALT, 49, 1, 1.0)
    m, _ = one(58, 1, 7, 3)
    assert (m.role, m.tick_type) == (wire_message.DATA_TYPE, 3)
    m, _ = one(46, 6, 7, 88, T)
    assert (m.role, m.time, m.delayed) == (wire_message.LAST_TIME, T, 1)
    m, _ = one(46, 6, 7, 33, "QPZ")
    assert (m.role, m.tick_type, int(m.code)) == (wire_message.EXCHANGE, 33, int.from_bytes(b"QPZ", "little"))


@pytest.mark.pure
@pytest.mark.parametrize(("price", "size"), [("-1", "0"), ("0", "0"), ("-1.00", "0"), ("0.0", "0.0")])
def test_no_quote_is_missing(price, size):
    m, reason = one(1, 6, 7, 2, price, size, 0)
    assert reason == ""
    assert np.isnan(m.price)
    assert np.isnan(m.quantity)
    m, _ = one(99, 7, 3, T, price, "5", size, "9", 0)
    assert np.isnan([m.price, m.quantity]).all()
    assert (m.ask, m.ask_size) == (5.0, 9.0)


@pytest.mark.pure
def test_a_negative_price_with_a_size_is_a_price():
    assert one(1, 6, 7, 1, "-1", "5", 0)[0].price == -1.0


@pytest.mark.pure
def test_an_empty_size_is_missing_until_it_comes():
    m, reason = one(1, 6, 7, 4, "4500.25", "", 0)
    assert (m.price, m.empty, reason) == (4500.25, 1, "")
    assert np.isnan(m.quantity)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((1, 6, 7, 1, "?", 1, 0), "not a number"),
        ((1, 6, 7, 1, "1e309", 1, 0), "not finite"),
        ((1, 6, 7, 1, "Infinity", 1, 0), "not finite"),
        ((1, 6, 7, 1, "1" * 129, 1, 0), "unusual number"),
        ((2, 6, 7, 8, "1e18"), "unusual number"),
        ((58, 1, 7, 5), "code out of range"),
        ((12, 1, 7, 0, 3, 0, "5", 1), "code out of range"),
        ((12, 1, 7, 0, 0, 2, "5", 1), "code out of range"),
        ((12, 1, 7, -1, 0, 0, "5", 1), "unusual number"),
        ((13, 1, 7, 0, "ARCA", 0, 0, "?", 1, 1), "not a number"),
        ((13, 1, 7, 0, "ARCA", 0, 0, "5", 1), "wrong field count"),
        ((21, 7, 10, 0, "x", 1, 1, 1, 1, 1, 1, 1), "not a number"),
        ((50, 3, 7, T, 1, 1, 1, "", 1, 1, 1), "not a number"),
        ((46, 6, 7, 45, "now"), "not a number"),
        ((1, 6, 7, 1, "5", -1, 0), "negative size"),
        ((1, 6, 7, 1, "5", 1), "wrong field count"),
        ((1, 6, 7, 1, "5", 1, 0, 0), "wrong field count"),
        ((1, 6, 7, "x", "5", 1, 0), "not a number"),
        ((2, 6, 7, 0, ""), "not a number"),
        ((2, 6, 7, 0, "1.5.5"), "not a number"),
        ((99, 7, 5, T, "1", 1, 0, "", ""), "unknown type of tick by tick"),
        ((99, 7, 2, 5, "1", 1, 0, "", ""), "time outside 2000 to 2100"),
        ((99, 7, 2, T, "", 1, 0, "", ""), "not a number"),
        ((99, 7, 3, T, "1", "2", 1, -3, 0), "negative size"),
        ((46, 6, 7, 48, "1;2;3"), "time outside 2000 to 2100"),
        ((46, 6, 7, 48, f"1;2;{T}000;4;5"), "wrong field count"),
        ((46, 6, 7, 77, f"1;2;{T}000;;5;true"), "not a number"),
    ],
)
def test_a_malformed_frame_is_bad_for_a_reason(fields, reason):
    data = naive.frame(*fields)
    for every in (0, 1):  # a frame with a wrong number of fields is judged when another follows it
        _, _, _, counts, samples = decode(data + naive.frame(2, 6, 7, 0, 1), {7: 3}, every)
        assert counts[wire_message.BAD] == 1
        assert counts[wire.N_OUTCOMES + REASONS.index(reason)] == 1
        assert counts[wire.RESYNCS] == 0
        assert tuple(samples[0]) == (0, len(data), REASONS.index(reason))


@pytest.mark.pure
def test_a_frame_without_a_final_nul_is_bad():
    data = naive.frame(2, 6, 7, 0, 100)[:-1] + b"0" + naive.frame(2, 6, 7, 0, 100)
    assert decode(data, {7: 3})[3][wire.N_OUTCOMES + wire_message.NO_NUL] == 1


@pytest.mark.pure
@pytest.mark.parametrize("fields", [(1, 6, 7, 37, "Infinity", 0, 0), (45, 6, 7, 23, "NaN"), (1, 6, 7, 1, "", 5, 0), (46, 6, 7, 47, "anything")])
def test_what_makes_no_row_may_be_unusual(fields):
    m, reason = one(*fields)
    assert (m.role, m.outcome, reason) == (wire_message.NOTHING, wire_message.DECODED, "")


@pytest.mark.pure
def test_below_version_163_a_size_is_a_whole_number():
    data = naive.frame(2, 6, 7, 0, "1.5") + naive.frame(2, 6, 7, 0, "15")
    assert [decode(data, {7: 0}, server_version=v)[3][wire_message.DECODED] for v in (157, 162, 163, 178)] == [1, 1, 2, 2]


@pytest.mark.pure
def test_a_subscription_knows_when_it_was_heard():
    subscriptions = table({7: 0, 8: 1, 9: 2})
    for ts, q in ((10, 7), (20, 8), (30, 7), (40, 99)):
        data, counts = naive.frame(2, 6, q, 0, 5), np.zeros(wire.N_COUNTS, np.int64)
        wire.decode(
            padded(data), 0, len(data), ts, subscriptions, 0, 3, np.zeros(9, wire_message.MESSAGE), np.zeros(wire_message.MAX_FIELDS, np.int64), counts,
            np.zeros((wire.SAMPLES, 3), np.int64),
        )
    heard = {int(e["req_id"]): (int(e["ts"]), int(e["frames"])) for e in subscriptions if e["req_id"] >= 0}
    assert heard == {7: (30, 2), 8: (20, 1), 9: (0, 0)}


# --- streams


@pytest.mark.parametrize("every", [0, 1])
def test_a_mixed_stream_equals_python(every):
    ours = {q: q for q in range(100)}
    frames = mixed(100_000 if every == 0 else 10_000, seed=1)
    data = b"".join(frames)
    pos, messages, status, counts, _ = decode(data, ours, every)
    wanted, outcomes = naive.decode([f[4:] for f in frames], ours if every == 0 else {q: q for q in range(200)})
    assert (pos, status) == (len(data), wire.MORE)
    assert counts[wire_message.DECODED] == outcomes.count("decoded")
    assert counts[wire_message.FORWARDED] == outcomes.count("forwarded")
    for k, reason in enumerate(REASONS[1:], 1):
        assert counts[wire.N_OUTCOMES + k] == outcomes.count(reason), reason
    if every == 0:  # without `every` the record has the symbol only, which is the reqId here
        messages["req_id"] = messages["symbol"]
    got = [said(m) for m in messages if m["outcome"] == wire_message.DECODED and m["role"]] if every else [said(m) for m in messages]
    want = [expected(s) for s in wanted if s.what]
    assert len(got) == len(want)
    assert all(same(a, b) for a, b in zip(got, want)), next((a, b) for a, b in zip(got, want) if not same(a, b))


def test_a_full_record_array_stops_the_walk_where_it_goes_on():
    data = b"".join(naive.frame(2, 6, 7, 0, k) for k in range(10))
    pos, messages, status, _, _ = decode(data, {7: 0}, capacity=4)
    assert status == wire.FULL
    assert list(messages["quantity"]) == [0, 1, 2, 3]
    assert list(decode(data[pos:], {7: 0})[1]["quantity"]) == [4, 5, 6, 7, 8, 9]


@pytest.mark.pure
def test_requests_that_share_a_place_of_the_table_are_told_apart():
    ours = {5: 0, 69: 1, 133: 2, 2**31 - 1: 3, 2147483519: 4}
    data = b"".join(naive.frame(2, 6, q, 0, q) for q in [*ours, 197, -1])
    _, messages, _, counts, _ = decode(data, ours)
    assert list(messages["symbol"]) == [0, 1, 2, 3, 4]
    assert counts[wire_message.FORWARDED] == 2


# --- what is for others


def split(data: bytes, ours: dict[int, int], lo: int = 0, capacity: int = 64):
    spans, private = np.zeros((capacity, 2), np.int64), np.zeros(3, np.int64)
    pos, n, _, status = wire.split(padded(data), lo, len(data), table(ours), 3, spans, private)
    return pos, [tuple(s) for s in spans[:n].tolist()], status, private.tolist()


@pytest.mark.pure
def test_neighbouring_foreign_frames_make_one_span():
    a, b, c = naive.frame(4, 2, -1, 2104, "farm"), naive.frame(1, 6, 7, 1, "5", 1, 0), naive.frame(1, 6, 8, 1, "5", 1, 0)
    data = a + c + b + b + c + b + a[:9]
    n, m = len(a) + len(c), len(b)
    assert split(data, {7: 0})[:3] == (n + 3 * m + len(c), [(0, n), (n + 2 * m, n + 2 * m + len(c))], wire.MORE)


@pytest.mark.pure
def test_a_clock_frame_ends_the_walk_and_gives_its_numbers():
    a, clock, end = naive.frame(2, 6, 7, 0, 5), naive.frame(9001, 1_381_239_000_000_000_001, 17), naive.frame(9003, 10, 4, 2)
    data = a + clock + a + end
    assert split(data, {7: 0}) == (len(a) + len(clock), [], wire.AT_CLOCK, [1_381_239_000_000_000_001, 17, 0])
    pos, _, status, numbers = split(data, {7: 0}, lo=len(a) + len(clock))
    assert (pos, status, numbers) == (len(data), wire.AT_END, [10, 4, 2])


@pytest.mark.pure
@pytest.mark.parametrize("damaged", [(9001, 5), (9001, "x", 5), (9001, 1, 2, 3), (9003, 1, 2)])
def test_a_damaged_clock_frame_loses_the_framing(damaged):
    assert split(naive.frame(*damaged), {})[2] == wire.LOST


def test_every_frame_is_either_decoded_or_forwarded():
    ours = {q: q for q in range(0, 100, 3)}
    frames = mixed(3_000, seed=4)
    data = b"".join(frames)
    _, spans, _, _ = split(data, ours, capacity=3_000)
    foreign = b"".join(data[a:b] for a, b in spans)
    assert foreign == b"".join(f for f in frames if naive.req_id(f[4:]) not in ours)
    assert math.isclose(decode(data, ours)[3][wire_message.FORWARDED], len(naive.frames(foreign)))
