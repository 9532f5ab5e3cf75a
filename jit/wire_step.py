"""The calls that the decode stage makes per chunk. Their arrays hang on one control block given by its address (memory.py), because a
packet may hold a single message. The arithmetic is in wire.py and book.py."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.book import BOOK, chunk_close, messages_update
from tickarrow.jit.memory import array_at, table_at
from tickarrow.jit.wire import FULL, LOST, N_COUNTS, SAMPLES, decode, split
from tickarrow.jit.wire_fields import SUBSCRIPTION
from tickarrow.jit.wire_message import BAD, MAX_FIELDS, MESSAGE

# Words of the control block, int64. Addresses first; what the calls give back is at the end.
(
    DATA, DATA_SIZE, SUBSCRIPTIONS, N_SUBSCRIPTIONS, MESSAGES, N_MESSAGES, FIELD_ENDS, COUNTS, BAD_FRAMES, BOOKS, N_BOOKS, OPEN_ENDS,
    SPANS, N_SPANS, PRIVATE_NUMBERS, COLUMNS, CAPACITY, VERSION, OTHERS, N_OTHERS, SEQ, POS, STATUS, NEW_BAD, N_ASIDE, SELDOM, OURS,
) = range(27)  # fmt: skip
N_WORDS = 32

NO_ROOM = 5  # a status beside those of `decode`: the others must be taken before the rest of the chunk is decoded


@kernel("i8, i8, i8, i8, i8, i8")
def step(control, lo, hi, ts, chunk, row):
    """Decode the complete frames of data[lo:hi] as one chunk into TICKS from index `row` on.

    Parameters
    ----------
    control : int, address of the control block
    lo, hi : int, bytes of the data
    ts, chunk : int, ns UTC and number of the chunk
    row : int, first free row of the columns; the caller has made room for every frame

    Returns
    -------
    int, rows written. The block's POS is behind the last complete frame, STATUS is LOST where framing is lost, NEW_BAD counts bad frames,
    N_ASIDE the messages of other tables that lie in OTHERS. STATUS is NO_ROOM where these are too many for their array: take them, and call
    again from POS. SELDOM is not 0 if there is anything to do but to commit the rows.
    """
    words = array_at(control, N_WORDS, np.int64)
    data = array_at(words[DATA], words[DATA_SIZE], np.uint8)
    subscriptions = array_at(words[SUBSCRIPTIONS], words[N_SUBSCRIPTIONS], SUBSCRIPTION)
    messages = array_at(words[MESSAGES], words[N_MESSAGES], MESSAGE)
    field_ends = array_at(words[FIELD_ENDS], MAX_FIELDS, np.int64)
    counts = array_at(words[COUNTS], N_COUNTS, np.int64)
    bad_frames = table_at(words[BAD_FRAMES], SAMPLES, 3, np.int64)
    book = array_at(words[BOOKS], words[N_BOOKS], BOOK)
    ends = array_at(words[OPEN_ENDS], 3, np.int64)
    others = array_at(words[OTHERS], words[N_OTHERS], MESSAGE)
    columns = array_at(words[COLUMNS], 14, np.int64)
    n = words[CAPACITY]
    seq_, ts_ = array_at(columns[0], n, np.uint64), array_at(columns[1], n, np.int64)
    ts_exch, chunk_ = array_at(columns[2], n, np.int64), array_at(columns[3], n, np.uint64)
    symbol, kind = array_at(columns[4], n, np.int32), array_at(columns[5], n, np.uint8)
    feed, flags = array_at(columns[6], n, np.uint8), array_at(columns[7], n, np.uint16)
    bid, bid_size = array_at(columns[8], n, np.float64), array_at(columns[9], n, np.float64)
    ask, ask_size = array_at(columns[10], n, np.float64), array_at(columns[11], n, np.float64)
    price, size = array_at(columns[12], n, np.float64), array_at(columns[13], n, np.float64)

    seq, first, bad = words[SEQ] - row, row, counts[BAD]
    pos, status = lo, np.int64(FULL)
    ends[2] = 0
    while status == FULL:
        if others.size - ends[2] < messages.size:
            status = np.int64(NO_ROOM)
            break
        pos, filled, status = decode(data, pos, hi, ts, subscriptions, 0, words[VERSION], messages, field_ends, counts, bad_frames)
        row = messages_update(
            book, ends, messages, 0, filled, others, ts, chunk, seq + row, row,
            seq_, ts_, ts_exch, chunk_, symbol, kind, feed, flags, bid, bid_size, ask, ask_size, price, size,
        )  # fmt: skip
    if status != NO_ROOM:
        row = chunk_close(
            book, ends, ts, chunk, seq + row, row,
            seq_, ts_, ts_exch, chunk_, symbol, kind, feed, flags, bid, bid_size, ask, ask_size, price, size,
        )  # fmt: skip
    words[SEQ] = seq + row
    words[POS], words[STATUS], words[NEW_BAD], words[N_ASIDE] = pos, status, counts[BAD] - bad, ends[2]
    words[SELDOM] = words[NEW_BAD] + ends[2]
    return row - first


@kernel("i8, i8, i8")
def split_step(control, lo, hi):
    """`split` on data[lo:hi] with the arrays of the control block; returns the number of spans; POS, STATUS and OURS, the frames of ours, are in the block."""
    words = array_at(control, N_WORDS, np.int64)
    data = array_at(words[DATA], words[DATA_SIZE], np.uint8)
    subscriptions = array_at(words[SUBSCRIPTIONS], words[N_SUBSCRIPTIONS], SUBSCRIPTION)
    spans = table_at(words[SPANS], words[N_SPANS], 2, np.int64)
    private = array_at(words[PRIVATE_NUMBERS], 3, np.int64)
    words[POS], n, words[OURS], words[STATUS] = split(data, lo, hi, subscriptions, words[VERSION], spans, private)
    return n
