"""Vector instructions against NumPy, lane by lane."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from tickarrow.jit import simd
from tickarrow.jit._kernel import cpu_has, kernel

if numba.config.DISABLE_JIT:
    pytest.skip("vector instructions are machine code: there is none with the JIT off", allow_module_level=True)

RNG = np.random.default_rng(1)


@simd.emit("u8, u8, u8, u8")
def _mux(b, s, zero, one, out):
    words = [simd.load(b, address, simd.WORDS, align=1) for address in (s, zero, one)]
    simd.store(b, simd.mux(b, *words), out, align=1)


@simd.emit("f4, u8 -> u8")
def _rank(b, x, cuts):
    return simd.count(b, simd.word(b, b.fcmp_ordered("<=", simd.load(b, cuts, simd.vector(simd.F32, 64), align=4), simd.splat(b, x, 64))))


@simd.emit("u8, u8, u8")
def _choose(b, flags, source, out):
    """Bytes of source where the flag is 1, else 7; then the halves change places."""
    value = b.select(simd.bits(b, flags), simd.load(b, source, simd.BYTES, align=1), simd.fill(simd.BYTES, 7))
    simd.store(b, simd.join(b, simd.part(b, value, 32, 32), simd.part(b, value, 0, 32)), simd.add_to(b, out, simd.number(flags.type, 64)), -64, align=1)


@kernel("u8[:], u8[:], u8[:], out u8[:]")
def muxed(s, zero, one, out):
    _mux(np.uint64(s.ctypes.data), np.uint64(zero.ctypes.data), np.uint64(one.ctypes.data), np.uint64(out.ctypes.data))


@kernel("f4, f4[:], out u8[:]")
def ranked(x, cuts, out):
    simd.prefetch(np.uint64(cuts.ctypes.data))
    out[0] = _rank(x, np.uint64(cuts.ctypes.data))


@kernel("u8, u1[:], out u1[:]")
def chosen(flags, source, out):
    _choose(flags, np.uint64(source.ctypes.data), np.uint64(out.ctypes.data))


def words():
    return RNG.integers(0, 2**64, 8, np.uint64)


def test_mux_takes_each_bit_from_the_side_its_selector_names():
    s, zero, one, out = words(), words(), words(), words()
    muxed(s, zero, one, out)
    np.testing.assert_array_equal(out, (s & one) | (~s & zero))


def test_comparing_all_cuts_and_counting_is_a_rank():
    cuts = np.full(64, np.nan, np.float32)
    cuts[:5] = [-np.inf, -1.0, 0.0, 2.5, np.inf]
    out = np.zeros(1, np.uint64)
    for x, rank in ((-np.inf, 1), (-1.0, 2), (-0.0, 3), (2.4999998, 3), (2.5, 4), (3e38, 4), (np.inf, 5), (np.nan, 0)):
        ranked(np.float32(x), cuts, out)
        assert out[0] == rank, x


def test_bits_select_bytes_and_parts_join():
    source, out = RNG.integers(0, 256, 64, np.uint8), np.zeros(64, np.uint8)
    flags = int(words()[0])
    chosen(np.uint64(flags), source, out)
    want = np.where(np.unpackbits(np.array([flags], np.uint64).view(np.uint8), bitorder="little"), source, 7)
    np.testing.assert_array_equal(out, np.roll(want, 32))


permutes = pytest.mark.skipif(not cpu_has(simd.NEEDS), reason="the processor has no AVX-512 VBMI")


@simd.emit("u8, u8, u8")
def _bytes(b, table, index, out):
    low, high, i = (simd.load(b, a, simd.BYTES, o, align=1) for a, o in ((table, 0), (table, 64), (index, 0)))
    simd.store(b, simd.permute_bytes(b, low, i, high), out, align=1)
    simd.store(b, simd.permute_bytes_64(b, low, i), out, 64, align=1)


@simd.emit("u8, u8, u8")
def _floats(b, table, index, out):
    low, high = (simd.load(b, table, simd.FLOATS, o, align=1) for o in (0, 64))
    i = b.zext(simd.load(b, index, simd.vector(simd.I8, 16), align=1), simd.INTS)
    simd.store(b, simd.permute_floats(b, low, i, high), out, align=1)
    few = b.and_(i, simd.fill(simd.INTS, 31))
    simd.store(b, simd.gather_floats(b, table, few), out, 64, align=1)
    simd.store(b, simd.gather_floats(b, table, simd.part(b, few, 0, 8)), out, 128, align=1)


@kernel("u1[:], u1[:], out u1[:]", needs=simd.NEEDS)
def permuted_bytes(table, index, out):
    _bytes(np.uint64(table.ctypes.data), np.uint64(index.ctypes.data), np.uint64(out.ctypes.data))


@kernel("f4[:], u1[:], out f4[:]", needs=simd.NEEDS)
def permuted_floats(table, index, out):
    _floats(np.uint64(table.ctypes.data), np.uint64(index.ctypes.data), np.uint64(out.ctypes.data))


@permutes
def test_permutes_look_up_tables():
    index = RNG.integers(0, 256, 64, np.uint8)
    table, out = RNG.integers(0, 256, 128, np.uint8), np.zeros(128, np.uint8)
    permuted_bytes(table, index, out)
    np.testing.assert_array_equal(out, np.concatenate([table[index & 127], table[index & 63]]))

    floats, out_f = RNG.normal(size=32).astype(np.float32), np.zeros(40, np.float32)
    permuted_floats(floats, index, out_f)
    i = index[:16]
    np.testing.assert_array_equal(out_f, np.concatenate([floats[i & 31], floats[i & 31], floats[i[:8] & 31]]))
