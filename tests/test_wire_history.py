"""Frames of history: fields by hand, the twin, ib_async's and ibapi's own decoders, and damaged frames."""

from __future__ import annotations

import math
import random
from datetime import UTC, date

import naive_wire_history as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ib_async.decoder import Decoder
from ibapi.decoder import Decoder as OfficialDecoder

from tickarrow.jit import wire_history as kernels
from tickarrow.jit.wire_message import REASONS

T = 1_700_000_000
FORMS = {kernels.EPOCH: "epoch", kernels.DATE: "date", kernels.LOCAL: "local"}


@pytest.fixture(autouse=True)
def wrap():
    """Without the JIT the bit tricks wrap around in NumPy scalars."""
    with np.errstate(over="ignore"):
        yield


def payload(*fields: object) -> bytes:
    return "".join(f"{f}\0" for f in fields).encode("latin-1")


def decode(frame: bytes):
    """Reason, reqId, done and rows as the twin gives them."""
    nuls = frame.count(b"\0")
    data = np.full(len(frame) + 64, 7, np.uint8)
    data[: len(frame)] = np.frombuffer(frame, np.uint8)
    head, ends = np.zeros(1, kernels.HISTORY), np.zeros(nuls, np.int64)
    ticks, bars = np.zeros(nuls // 4, kernels.HISTORY_TICK), np.zeros(nuls // 8 + 1, kernels.HISTORY_BAR)
    reason = kernels.history(data, 0, len(frame), ends, ticks, bars, head)
    h = head[0]
    if reason:
        return REASONS[reason], int(h["req_id"]), False, []
    id_ = int(frame.split(b"\0")[0])

    def text(r, name):
        return frame[r[f"{name}_at"] : r[f"{name}_at"] + r[f"{name}_len"]].decode("latin-1")

    rows = []
    for r in (bars if id_ in (17, 90) else ticks)[: h["rows"]]:
        a = int(r["attributes"]) if id_ not in (17, 90) else 0
        if id_ in (17, 90):
            values = [float(r[c]) for c in ("open", "high", "low", "close", "volume", "wap")]
            rows.append((int(r["time"]), FORMS[int(r["form"])], text(r, "zone"), *values, int(r["count"])))
        elif id_ == 96:
            rows.append((int(r["time"]), float(r["price"]), float(r["quantity"])))
        elif id_ == 97:
            rows.append((int(r["time"]), *(float(r[c]) for c in ("price", "ask", "quantity", "ask_size")), bool(a & 2), bool(a & 1)))
        else:
            rows.append((int(r["time"]), float(r["price"]), float(r["quantity"]), bool(a & 1), bool(a & 2), text(r, "exchange"), text(r, "conditions")))
    return "", int(h["req_id"]), bool(h["done"]), rows


def same(a, b) -> bool:
    return len(a) == len(b) and all(len(x) == len(y) and all(p == q or (p != p and q != q) for p, q in zip(x, y)) for x, y in zip(a, b))


# --- by hand


@pytest.mark.pure
def test_trades_of_a_hand_written_frame():
    got = decode(payload(98, 7, 2, T, 0, "150.25", 100, "NYSE", " O X", T, 3, "150.30", "0.5", "OVERNIGHT", "", 1))
    assert got == ("", 7, True, [(T, 150.25, 100.0, False, False, "NYSE", " O X"), (T, 150.3, 0.5, True, True, "OVERNIGHT", "")])


@pytest.mark.pure
def test_quotes_of_a_hand_written_frame_and_the_swapped_mask():
    reason, _, done, rows = decode(payload(97, 7, 3, T, 1, 10, "10.5", 3, 4, T, 2, -1, "10.5", 0, 4, T + 1, 0, "?", "", 1, 2, 0))
    assert (reason, done) == ("", False)
    nan = math.nan
    assert same(rows, [(T, 10.0, 10.5, 3.0, 4.0, False, True), (T, nan, 10.5, nan, 4.0, True, False), (T + 1, nan, nan, 1.0, 2.0, False, False)])


@pytest.mark.pure
def test_midpoints_skip_the_field_that_says_nothing():
    assert decode(payload(96, 7, 1, T, "x", "-37.63", 0, 1)) == ("", 7, True, [(T, -37.63, 0.0)])
    assert decode(payload(96, 7, 0, 1)) == ("", 7, True, [])


@pytest.mark.pure
def test_bars_of_a_hand_written_frame():
    start, end = "20231114  09:30:00", "20231114  16:00:00"
    row = (1, 4, "0.5", 3, 100, "2.25", 9)
    reason, req_id, done, rows = decode(payload(17, 7, start, end, 3, "20231114", *row, f"{start} US/Eastern", *row, T, "?", 4, 0, 3, -1, -1, -1))
    assert (reason, req_id, done) == ("", 7, True)
    midnight, values = 1_699_920_000, (1.0, 4.0, 0.5, 3.0, 100.0, 2.25, 9)
    nan = math.nan
    expected = [(midnight, "date", "", *values), (midnight + 34_200, "local", "US/Eastern", *values), (T, "epoch", "", nan, 4.0, 0.0, 3.0, nan, nan, -1)]
    assert same(rows, expected)


@pytest.mark.pure
def test_an_update_of_a_bar_has_the_order_open_close_high_low():
    assert decode(payload(90, 7, 12, T, 1, 2, 4, "0.5", "1.5", 300)) == ("", 7, True, [(T, "epoch", "", 1.0, 4.0, 0.5, 2.0, 300.0, 1.5, 12)])


@pytest.mark.pure
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (payload(98, 7, 2, T, 0, 1, 1, "", "", 1), "wrong field count"),
        (payload(98, 7, 1, T, 0, 1, 1, "", ""), "wrong field count"),
        (payload(96, 7, 9_999_999_999_999_999, T, 0, 1, 1, 1), "wrong field count"),
        (payload(17, 7, "", "", 1), "wrong field count"),
        (payload(90, 7, 1, T, 1, 2, 4, 1, 1), "wrong field count"),
        (payload(96, 7), "wrong field count"),
        (payload(96, 7, 1, T, 0, 1, 1, 1)[:-1], "no final NUL"),
        (payload(96, 7, 1, T, 0, "1.2.3", 1, 1), "not a number"),
        (payload(96, 7, 1, "soon", 0, 1, 1, 1), "not a number"),
        (payload(96, 7, 1, 946_684_799, 0, 1, 1, 1), "time outside 2000 to 2100"),
        (payload(98, 7, 1, T, 0, 1, -5, "", "", 1), "negative size"),
        (payload(97, 7, 1, T, 70_000, 1, 1, 1, 1, 1), "unusual number"),
        (payload(17, 7, "", "", 1, T, 1, 1, 1, 1, -2, 1, 1), "negative size"),
        (payload(17, 7, "", "", 1, "20230229", 1, 1, 1, 1, 1, 1, 1), "not a date or time"),
        (payload(17, 7, "", "", 1, "20230228 24:00:00", 1, 1, 1, 1, 1, 1, 1), "not a date or time"),
        (payload(17, 7, "", "", 1, "20230228 10:00:00 ", 1, 1, 1, 1, 1, 1, 1), "not a date or time"),
        (payload(17, 7, "", "", 1, "18991231", 1, 1, 1, 1, 1, 1, 1), "time outside 2000 to 2100"),
    ],
)
def test_a_malformed_frame_is_refused_with_its_reason(frame, reason):
    assert decode(frame)[0] == reason
    with pytest.raises(naive.Bad):
        naive.history(frame)


# --- the twin

PRICE = st.sampled_from(["150.25", "-37.63", "0", "-1", "?", "", "0.0001", "12.", ".5", "100000.125"])
SIZE = st.sampled_from(["0", "100", "0.5", "", "123456789"])
MASK = st.sampled_from(["0", "1", "2", "3"])
SECONDS = st.integers(T, T + 5).map(str)
TEXT = st.sampled_from(["", "NYSE", "OVERNIGHT", " O X", "   I", "AVERYLONGEXCHANGE"])
CLOCKS = ["20000229", "19280131", "20240301", "20231114 09:30:00", "20231114  23:59:59 US/Eastern", "19700101  00:00:00 Europe/Amsterdam", str(T)]
BAR = st.tuples(st.sampled_from(CLOCKS), PRICE, PRICE, PRICE, PRICE, st.sampled_from(["-1", "100", "1.5", ""]), PRICE, st.sampled_from(["-1", "", "7"]))
ROWS = {
    17: BAR,
    96: st.tuples(SECONDS, TEXT, PRICE, SIZE),
    97: st.tuples(SECONDS, MASK, PRICE, PRICE, SIZE, SIZE),
    98: st.tuples(SECONDS, MASK, PRICE, SIZE, TEXT, TEXT),
}


@st.composite
def frames(draw):
    kind = draw(st.sampled_from([17, 90, 96, 97, 98]))
    if kind == 90:
        day, o, h, low, c, volume, wap, count = draw(BAR)
        return payload(90, draw(st.integers(0, 10**9)), count, day, o, c, h, low, wap, volume)
    rows = draw(st.lists(ROWS[kind], max_size=6))
    ends = [draw(TEXT), draw(TEXT)] if kind == 17 else []
    tail = [] if kind == 17 else [draw(st.sampled_from([0, 1]))]
    return payload(kind, draw(st.integers(0, 10**9)), *ends, len(rows), *(f for r in rows for f in r), *tail)


@pytest.mark.pure
@given(frames())
def test_rows_are_those_of_the_twin(frame):
    reason, req_id, done, rows = decode(frame)
    assert reason == ""
    expected = naive.history(frame)
    assert (req_id, done) == expected[:2]
    assert same(rows, expected[2])


@pytest.mark.pure
@given(st.dates(min_value=date(1900, 1, 1), max_value=date(2099, 12, 31)))
def test_every_date_is_the_calendars(day):
    frame = payload(90, 1, 1, f"{day:%Y%m%d}", 1, 1, 1, 1, 1, 1)
    assert decode(frame)[3] == naive.history(frame)[2]


def market(seed: int, rows: int, whole: bool = False) -> list[bytes]:
    """A frame of each kind as a gateway sends it; `whole`: sizes are whole numbers."""
    r = random.Random(seed)

    def p() -> str:
        return f"{r.randrange(1, 10**7) / 10 ** r.randrange(1, 5):.{r.choice([0, 1, 2, 4])}f}"

    def n() -> str:
        return str(r.randrange(1, 10**6)) if whole or r.random() < 0.5 else f"{r.randrange(1, 99)}.{r.randrange(1, 999):03d}"

    out = []
    times = sorted(T + r.randrange(600) for _ in range(rows))
    bars = [(r.choice([t, "20231114", "20231114  09:30:00", "20231114 09:30:00 US/Eastern"]), p(), p(), p(), p(), n(), p(), r.randrange(99)) for t in times]
    out.append(payload(17, 7, "20231114 09:30:00", "20231114 16:00:00", rows, *(f for b in bars for f in b)))
    day, o, h, low, c, volume, wap, count = bars[0]
    out.append(payload(90, 7, count, day, o, c, h, low, wap, volume))
    out.append(payload(96, 7, rows, *(f for t in times for f in (t, 0, p(), n())), r.randrange(2)))
    out.append(payload(97, 7, rows, *(f for t in times for f in (t, r.randrange(4), p(), p(), n(), n())), r.randrange(2)))
    texts = ["NYSE", "IEX", "", "OVERNIGHT"], ["", " O X", "   I"]
    out.append(payload(98, 7, rows, *(f for t in times for f in (t, r.randrange(4), p(), n(), *map(r.choice, texts))), r.randrange(2)))
    return out


ODD = [b"", b"?", b"-1", b"nan", b"inf", b"1e5", b"9" * 20, b"1.7976931348623157E308", b"20230230", b" 5", b"1_0"]


def damaged(frame: bytes, r: random.Random) -> bytes:
    """One to three random edits: bytes changed, cut out, doubled, fields swapped for odd ones."""
    b = bytearray(frame)
    for _ in range(r.randrange(1, 4)):
        i = r.randrange(len(b))
        kind = r.randrange(6)
        if kind == 0:
            b[i] = r.randrange(256)
        elif kind == 1:
            b[i] = r.choice(b"0123456789.-?eE+ \0:")
        elif kind == 2:
            del b[i : i + r.randrange(1, 5)]
        elif kind == 3:
            b[i:i] = bytes(r.choices(b"0123456789.-\0", k=r.randrange(1, 4)))
        elif kind == 4:
            fields = bytes(b).split(b"\0")
            fields[r.randrange(len(fields))] = r.choice(ODD)
            b = bytearray(b"\0".join(fields))
        else:
            del b[i:]
        if len(b) < 4:
            return frame[:4]
    return bytes(b)


def test_a_mutated_frame_is_accepted_exactly_if_the_twin_accepts_it():
    r = random.Random(11)
    whole = [f for seed in range(40) for f in market(seed, r.randrange(1, 6))]
    accepted = 0
    for k in range(20_000):
        frame = damaged(whole[k % len(whole)], r)
        if frame.split(b"\0")[0] not in (b"17", b"90", b"96", b"97", b"98"):
            continue
        reason, req_id, done, rows = decode(frame)
        if reason:
            with pytest.raises(naive.Bad):
                naive.history(frame)
            continue
        accepted += 1
        expected = naive.history(frame)
        assert (req_id, done) == expected[:2], frame
        assert same(rows, expected[2]), frame
    assert accepted > 2_000


# --- other decoders


class Recorder:
    """A wrapper that keeps what a decoder calls."""

    defaultTimezone = None

    def __init__(self) -> None:
        self.called: list[tuple] = []

    def __getattr__(self, name):
        return lambda *args: self.called.append((name, *args))


def attributes(tick) -> list[bool]:
    a = getattr(tick, "tickAttribBidAsk", None) or getattr(tick, "tickAttribLast", None)
    return [a.bidPastLow, a.askPastHigh] if hasattr(a, "bidPastLow") else [a.pastLimit, a.unreported]


def theirs(called: list[tuple], official: bool) -> tuple[int, bool, list[tuple]]:
    """What a decoder of IBKR's protocol told its wrapper, as rows of ours, bars with their date as text."""
    name, req_id, *rest = called[0]
    if name.startswith("historicalData"):
        bars = [c[2] for c in called if c[0] in ("historicalData", "historicalDataUpdate")]
        return req_id, True, [(b.date, b.open, b.high, b.low, b.close, b.volume, b.average, b.barCount) for b in bars]
    ticks, done = rest
    seconds = [t.time if official else round(t.time.timestamp()) for t in ticks]
    if name == "historicalTicks":
        return req_id, done, [(s, t.price, t.size) for s, t in zip(seconds, ticks)]
    if name == "historicalTicksBidAsk":
        return req_id, done, [(s, t.priceBid, t.priceAsk, t.sizeBid, t.sizeAsk, *attributes(t)) for s, t in zip(seconds, ticks)]
    return req_id, done, [(s, t.price, t.size, *attributes(t), t.exchange, t.specialConditions) for s, t in zip(seconds, ticks)]


def ours(frame: bytes) -> tuple[int, bool, list[tuple]]:
    """Rows, with the dates of bars as they were written."""
    reason, req_id, done, rows = decode(frame)
    assert reason == ""
    if frame[:2] in (b"17", b"90"):
        f = frame.decode().split("\0")
        dates = f[3:4] if frame[:2] == b"90" else f[5:-1:8]
        for text, (t, form, zone, *_) in zip(dates, rows):
            assert (t, form, zone) == naive.bar_time(text)
        rows = [(text, *r[3:]) for text, r in zip(dates, rows)]
    return req_id, done, rows


@pytest.mark.parametrize("version", [157, 163, 166, 178])
def test_every_message_is_what_ib_async_reads(version):
    for seed in range(30):
        for frame in market(seed, 1 + seed):
            wrapper = Recorder()
            wrapper.defaultTimezone = UTC
            Decoder(wrapper, version).interpret(frame.decode().split("\0")[:-1])
            expected = theirs(wrapper.called, official=False)
            got = ours(frame)
            assert got[:2] == expected[:2]
            assert same(got[2], expected[2]), frame


def test_every_message_is_what_ibapi_reads_at_157():
    for seed in range(30):
        for frame in market(seed, 1 + seed, whole=True):
            wrapper = Recorder()
            OfficialDecoder(wrapper, 157).interpret(frame.split(b"\0")[:-1])
            expected = theirs(wrapper.called, official=True)
            got = ours(frame)
            assert got[:2] == expected[:2]
            assert same(got[2], expected[2]), frame
