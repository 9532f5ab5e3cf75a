"""Append a record to a mapped segment of the journal: copy and checksum in one pass, the commit word last.

A record is 24 bytes of header and the payload, padded with zeros to whole words:
commit (u64, number of the chunk + 1), ts (i64), length (u32), crc (u32). The checksum is the CRC-32 of zlib over the first 20 bytes of
the header and the payload, so that any reader can check it. A record whose commit word is zero does not exist."""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tickarrow.jit._kernel import kernel
from tickarrow.jit.memory import array_at
from tickarrow.jit.wire_fields import load8

U = np.uint64
ONES = U(0xFFFFFFFF)
BYTE = U(255)
HEADER_WORDS = 3
STREAMS = 4  # words that are checksummed side by side: a chain of look-ups waits for the memory, four do not

# Words of the control block, int64.
DATA, DATA_SIZE, SEGMENT, SEGMENT_WORDS, AT, DAY_START, DAY_END, CHUNKS, BYTES = range(9)
N_WORDS = 16


def _tables() -> np.ndarray:
    """Row k: what a byte adds to the checksum with k bytes behind it (k = 0..7), and with the words of the other streams between (8..15)."""
    one = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        one = np.where(one & 1, (one >> 1) ^ np.uint32(0xEDB88320), one >> 1).astype(np.uint32)
    rows = [one]
    for _ in range(8 * STREAMS - 1):
        rows.append((rows[-1] >> 8) ^ one[rows[-1] & 255])
    return np.ascontiguousarray(rows[:8] + rows[8 * STREAMS - 8 :])


TABLES = _tables()

if numba.config.DISABLE_JIT:

    def store_release(address, value):
        """Store a word after all stores before it; only the driver uses it."""
        raise NotImplementedError("the journal's driver needs the JIT")

else:

    @intrinsic
    def store_release(typingctx, address, value):
        """Store a word at an address after all stores before it: another process that sees it sees the record."""

        def codegen(context, builder, signature, args):
            builder.store_atomic(args[1], builder.inttoptr(args[0], ir.IntType(64).as_pointer()), "release", 8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen


@kernel("u8, i8", inline=True)
def word_point(x, row):
    """Checksum register after the eight bytes of `x`, which already holds the register of before; `row` 8 for a stream of four."""
    return U(
        TABLES[row + 7, x & BYTE] ^ TABLES[row + 6, (x >> U(8)) & BYTE] ^ TABLES[row + 5, (x >> U(16)) & BYTE] ^ TABLES[row + 4, (x >> U(24)) & BYTE]
        ^ TABLES[row + 3, (x >> U(32)) & BYTE] ^ TABLES[row + 2, (x >> U(40)) & BYTE] ^ TABLES[row + 1, (x >> U(48)) & BYTE] ^ TABLES[row, x >> U(56)]
    )  # fmt: skip


@kernel("u8, u1[:], i8, i8, out u8[:], i8")
def copy_crc(crc, data, lo, hi, words, at):
    """Copy data[lo:hi] to words[at:], padded with zeros, and carry a CRC-32 over it.

    Parameters
    ----------
    crc : uint64, register before: 0xFFFFFFFF at the start; the CRC is the register after, inverted
    data : (n,) uint8
    lo, hi : int, bytes of the data
    words : (n_words,) uint64, out
    at : int, first word written

    Returns
    -------
    uint64, register after

    References
    ----------
    ISO 3309 CRC-32 (reflected polynomial 0xEDB88320), as in zlib. Kounavis and Berry (2005), A systematic approach to building high
    performance software-based CRC generators: look-ups by slices. Kadatch and Jenkins (2010), Everything we know about CRC but afraid
    to forget: independent streams, combined at the end.
    """
    n = (hi - lo) // 8
    k = np.int64(0)
    if n >= 2 * STREAMS:
        a, b, c, d = crc, U(0), U(0), U(0)
        while k + 2 * STREAMS <= n:
            i = lo + 8 * k
            w, x, y, z = load8(data, i), load8(data, i + 8), load8(data, i + 16), load8(data, i + 24)
            words[at + k], words[at + k + 1], words[at + k + 2], words[at + k + 3] = w, x, y, z
            a, b, c, d = word_point(w ^ a, 8), word_point(x ^ b, 8), word_point(y ^ c, 8), word_point(z ^ d, 8)
            k += STREAMS
        i = lo + 8 * k
        w, x, y, z = load8(data, i), load8(data, i + 8), load8(data, i + 16), load8(data, i + 24)
        words[at + k], words[at + k + 1], words[at + k + 2], words[at + k + 3] = w, x, y, z
        crc = word_point(w ^ a, 0)
        crc = word_point(x ^ b ^ crc, 0)
        crc = word_point(y ^ c ^ crc, 0)
        crc = word_point(z ^ d ^ crc, 0)
        k += STREAMS
    while k < n:
        w = load8(data, lo + 8 * k)
        words[at + k] = w
        crc = word_point(w ^ crc, 0)
        k += 1
    if lo + 8 * k < hi:
        last, shift = U(0), U(0)
        for i in range(lo + 8 * k, hi):
            last |= U(data[i]) << shift
            shift += U(8)
            crc = U(TABLES[0, (crc ^ U(data[i])) & BYTE]) ^ (crc >> U(8))
        words[at + k] = last
    return crc


@kernel("i8, i8, i8", inline=True)
def header_crc(commit, ts, length):
    """Checksum register after the first 20 bytes of a header."""
    crc = word_point(U(commit) ^ ONES, 0)
    crc = word_point(U(ts) ^ crc, 0)
    for i in range(4):
        crc = U(TABLES[0, (crc ^ (U(length) >> U(8 * i))) & BYTE]) ^ (crc >> U(8))
    return crc


@kernel("i8, i8, i8, i8, i8")
def append(control, lo, hi, ts, number):
    """Write data[lo:hi] as the next record of the segment.

    Parameters
    ----------
    control : int, address of the control block: data, segment, next free word AT, the segment's day, counters
    lo, hi : int, bytes of the data
    ts, number : int, ns UTC and number of the chunk

    Returns
    -------
    bool, False if the record has no room in the segment or is of another day: nothing was written then
    """
    block = array_at(control, N_WORDS, np.int64)
    at, length = block[AT], hi - lo
    end = at + HEADER_WORDS + (length + 7) // 8
    if end > block[SEGMENT_WORDS] or ts < block[DAY_START] or ts >= block[DAY_END]:
        return False
    words = array_at(block[SEGMENT], block[SEGMENT_WORDS], np.uint64)
    data = array_at(block[DATA], block[DATA_SIZE], np.uint8)
    crc = copy_crc(header_crc(number + 1, ts, length), data, lo, hi, words, at + HEADER_WORDS) ^ ONES
    words[at + 1] = U(ts)
    words[at + 2] = U(length) | (crc << U(32))
    store_release(block[SEGMENT] + 8 * at, number + 1)
    block[AT] = end
    block[CHUNKS] += 1
    block[BYTES] += length
    return True
