"""Vector instructions for the forest kernels. LLVM finds none of them in loops (measured), so kernels state them as LLVM vector IR.

`@emit("u8, u8, f4 -> u8")` makes an intrinsic, callable from kernels, of a function `body(b, x, y, z)` that gets the IR builder and its
arguments as LLVM values. Result `-> u8` and so on, none without an arrow. Arguments: u8 (addresses too), i8, u4, i4, u1, f4, f8.
An address is `np.uint64(array.ctypes.data)`. The body is Python that runs at compile time: loops in it unroll.
Make intrinsics at module level only: in a closure they defeat the disk cache.

Building blocks of a body; generic ones compile for every CPU, the VBMI and AVX-512 ones are marked:

types       I1 I8 I16 I32 I64 F32 F64, vector(I8, 64); WORDS = 8 x i64, BYTES = 64 x i8, BITS = 64 x i1, FLOATS = 16 x f32, INTS = 16 x i32, DOUBLES = 8 x f64
constants   number(I64, 5), fill(BYTES, 255), lanes(BYTES, [..64 numbers])
memory      load(b, address, BYTES, offset=0, align=None), store(b, value, address, offset=0, align=None): offset in bytes, aligned to the
            whole type unless said; add_to(b, address, number or value)
lanes       splat(b, value, n), shuffle(b, x, y, [..]), join(b, x, y), part(b, x, start, n), at(b, x, k)
logic       b.and_ b.or_ b.xor b.not_ b.select as they are; mux(b, s, zero, one): each bit is that of `one` where s is 1 (one vpternlog)
compares    b.icmp_unsigned(">=", x, y), b.fcmp_ordered(">=", x, y) give lanes of i1; word(b, those) -> integer of as many bits; bits(b, integer) -> lanes of i1
permutes    permute_bytes(b, low, index, high) [VBMI] 128-byte table, bit 7 of an index is ignored; permute_bytes_64(b, table, index) [VBMI];
            permute_floats(b, low, index, high) [AVX512F] 32 floats by INTS
turns       turn_floats(b, rows) = 16 FLOATS as the columns of 16;
            turn_bits(b, x) [GFNI] in each 8 bytes of BYTES, bit k of byte j becomes bit 7 - j of byte k; funnel(b, x, y, n) = high half of (x:y) << n
others too  call(b, name, result type, arguments) of any LLVM intrinsic
flow        repeat(b, state, more, step), choose(b, number, {5: write, ..})
others      gather_floats(b, address, index INTS or 8 x i32) [AVX512F / AVX2], count(b, x) = number of 1 bits,
            fetch(b, address, level=3) = prefetch; level 3 = into L1, 2 = into L2 only
In kernels  prefetch(address)

`NEEDS` is what kernels with permutes ask of the CPU: `@kernel(signature, needs=NEEDS)`."""

import inspect
from collections.abc import Callable, Sequence

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

NEEDS = "avx512f avx512bw avx512vl avx512vbmi"

TURN_NEEDS = NEEDS + " avx512dq gfni"  # of kernels with turn_bits

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()
vector = ir.VectorType
BITS, BYTES, WORDS = vector(I1, 64), vector(I8, 64), vector(I64, 8)
FLOATS, INTS, DOUBLES = vector(F32, 16), vector(I32, 16), vector(F64, 8)

_SCALARS = {
    "u8": types.uint64, "i8": types.int64, "u4": types.uint32, "i4": types.int32, "u1": types.uint8, "f4": types.float32, "f8": types.float64,
}  # fmt: skip


def emit(signature: str) -> Callable[[Callable[..., object]], object]:
    """Make an intrinsic of a function that writes its instructions with an IR builder, see the head of this module."""
    given, _, result = signature.partition("->")
    arguments = [_SCALARS[t.strip()] for t in given.split(",")]
    returned = _SCALARS[result.strip()] if result.strip() else types.void

    def decorate(body):
        def typed(typing_context, *_):
            def generate(context, builder, _signature, args):
                value = body(builder, *args)
                return context.get_dummy_value() if returned is types.void else value

            return returned(*arguments), generate

        names = ["typing_context", *(f"a{i}" for i in range(len(arguments)))]
        typed.__signature__ = inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names])
        typed.__name__, typed.__doc__, typed.__module__ = body.__name__, body.__doc__, body.__module__
        return intrinsic(typed)

    return decorate


def number(kind, value):
    """Constant of a scalar type."""
    return ir.Constant(kind, value)


def fill(kind, value):
    """Constant of a vector type, the same number in all lanes."""
    return ir.Constant(kind, [value] * kind.count)


def lanes(kind, values: Sequence[float]):
    """Constant of a vector type."""
    return ir.Constant(kind, list(values))


def _bytes(kind) -> int:
    if isinstance(kind, ir.VectorType):
        return max(kind.count * _bits(kind.element) // 8, 1)
    return max(_bits(kind) // 8, 1)


def _bits(kind) -> int:
    return {F32: 32, F64: 64}.get(kind) or kind.width


def add_to(b, address, offset):
    """Address some bytes further; `offset` is a Python number or an i64 value."""
    if isinstance(offset, int):
        return b.add(address, number(I64, offset)) if offset else address
    return b.add(address, offset)


def pointer(b, address, kind):
    """Address as a pointer to a type."""
    return b.inttoptr(address, kind.as_pointer())


def load(b, address, kind, offset=0, align=None):
    """Value of a type at `address + offset`."""
    return b.load(pointer(b, add_to(b, address, offset), kind), align=align or _bytes(kind))


def store(b, value, address, offset=0, align=None):
    """Write a value to `address + offset`."""
    b.store(value, pointer(b, add_to(b, address, offset), value.type), align=align or _bytes(value.type))


def shuffle(b, x, y, order: Sequence[int]):
    """Lanes of x (0 ..) and y (n ..) in a constant order."""
    return b.shuffle_vector(x, y, lanes(vector(I32, len(order)), order))


def splat(b, value, n: int):
    """One value in n lanes."""
    nothing = ir.Constant(vector(value.type, n), ir.Undefined)
    return shuffle(b, b.insert_element(nothing, value, number(I32, 0)), nothing, [0] * n)


def join(b, x, y):
    """Lanes of x, then those of y."""
    return shuffle(b, x, y, range(2 * x.type.count))


def part(b, x, start: int, n: int):
    """Lanes start .. start + n of x."""
    return shuffle(b, x, x, range(start, start + n))


def at(b, x, lane: int):
    """One lane."""
    return b.extract_element(x, number(I32, lane))


def mux(b, s, zero, one):
    """Bit by bit: that of `one` where s is 1, else that of `zero`."""
    return b.xor(zero, b.and_(b.xor(zero, one), s))


def word(b, flags):
    """n lanes of i1 as an n-bit integer, lane 0 lowest."""
    return b.bitcast(flags, ir.IntType(flags.type.count))


def bits(b, integer):
    """n-bit integer as n lanes of i1."""
    return b.bitcast(integer, vector(I1, integer.type.width))


def call(b, name: str, result, arguments):
    """An LLVM intrinsic by its name."""
    known = b.module.globals.get(name)
    function = known if known is not None else ir.Function(b.module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return b.call(function, arguments)


def permute_bytes(b, low, index, high):
    """64 bytes of the 128 of low and high; bit 7 of an index is ignored. vpermi2b."""
    return call(b, "llvm.x86.avx512.vpermi2var.qi.512", BYTES, [low, index, high])


def permute_bytes_64(b, table, index):
    """64 bytes of the 64 of the table; bits 6 and 7 of an index are ignored. vpermb."""
    return call(b, "llvm.x86.avx512.permvar.qi.512", BYTES, [table, index])


def permute_floats(b, low, index, high):
    """16 floats of the 32 of low and high; index: INTS, bits 5 and up are ignored. vpermi2ps."""
    return call(b, "llvm.x86.avx512.vpermi2var.ps.512", FLOATS, [low, index, high])


def turn_floats(b, rows):
    """16 vectors of 16 floats turned: lane i of vector k is lane k of vector i."""
    low = [k for i in range(8) for k in (i, 16 + i)]
    high = [k + 8 for k in low]
    for _ in range(4):  # four perfect shuffles of vectors and lanes
        rows = [shuffle(b, rows[i], rows[i + 8], order) for i in range(8) for order in (low, high)]
    return rows


def turn_bits(b, x):
    """8 x 8 bits of each 8 bytes turned: bit k of byte j becomes bit 7 - j of byte k. vgf2p8affineqb."""
    unit = lanes(BYTES, [1 << k % 8 for k in range(64)])
    return call(b, "llvm.x86.vgf2p8affineqb.512", BYTES, [unit, x, number(I8, 0)])


def funnel(b, x, y, n: int):
    """Lane by lane the high half of (x:y) << n: x << n with the highest n bits of y below. vpshld."""
    kind = x.type
    return call(b, f"llvm.fshl.v{kind.count}i{_bits(kind.element)}", kind, [x, y, fill(kind, n)])


def repeat(b, state, more, step):
    """A loop that runs at least once: `state` values become step(values) for as long as more(values) is true; their last values."""
    before = b.block
    loop, end = b.append_basic_block("loop"), b.append_basic_block("end")
    b.branch(loop)
    b.position_at_end(loop)
    now = [b.phi(v.type) for v in state]
    after = step(now)
    for phi, first, then in zip(now, state, after):
        phi.add_incoming(first, before)
        phi.add_incoming(then, b.block)
    b.cbranch(more(after), loop, end)
    b.position_at_end(end)
    return after


def choose(b, value, cases):
    """Run what `cases` writes for a number; nothing for another one."""
    end = b.append_basic_block("end")
    switch = b.switch(value, end)
    for k, write in cases.items():
        block = b.append_basic_block("case")
        switch.add_case(number(value.type, k), block)
        b.position_at_end(block)
        write()
        b.branch(end)
    b.position_at_end(end)


def gather_floats(b, address, index):
    """Floats at `address + 4 * index`, 8 or 16 of them."""
    n = index.type.count
    kind = vector(F32, n)
    base = b.inttoptr(address, I8.as_pointer())
    if n == 8:
        every = b.bitcast(fill(vector(I32, 8), -1), kind)
        return call(b, "llvm.x86.avx2.gather.d.ps.256", kind, [fill(kind, 0.0), base, index, every, number(I8, 4)])
    return call(b, "llvm.x86.avx512.mask.gather.dps.512", kind, [fill(kind, 0.0), base, index, fill(vector(I1, 16), 1), number(I32, 4)])


def count(b, x):
    """Number of bits that are 1, lane by lane."""
    return b.ctpop(x)


def fetch(b, address, level: int = 3):
    """Ask for the 64-byte line at an address: level 3 = into L1, 2 = into L2."""
    call(b, "llvm.prefetch.p0", ir.VoidType(), [b.inttoptr(address, I8.as_pointer()), number(I32, 0), number(I32, level), number(I32, 1)])


@emit("u8")
def prefetch(b, address):
    """Ask for the line at an address."""
    fetch(b, address)
