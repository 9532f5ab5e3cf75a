"""Eight doubles side by side: the same arithmetic on eight matrices at once, each in its own lane. LLVM unrolls a loop
over eight lanes into single numbers (docs/decisions/0022), so it is a type of its own: `+ - * /`, unary minus, `< <= > >= ==`, and on
the results of compares `& |`.

One lane never sees another, nothing is contracted or reordered: the bits of a lane are those of the same steps on plain numbers, on every
CPU. With the JIT off an `eight` is an array of 8 and the functions here are NumPy's, which also checks the indices that the compiled ones
do not check.

get8(a, i)          row i of a (rows, 8) float64 array
put8(a, i, x)       a[i] = x
all8(v)             v in all lanes
sqrt8(x), abs8(x)   lane by lane
pick8(m, x, y)      x in the lanes of m, else y
word8(m)            a compare as int64, bit k = lane k
sum8(x)             ((x0 + x4) + (x2 + x6)) + ((x1 + x5) + (x3 + x7))"""

import operator

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 8
ALL = (1 << LANES) - 1  # word8 of all lanes


class Lanes(types.Type):
    """Eight doubles, or eight results of a compare."""

    def __init__(self, name, element):
        super().__init__(name=name)
        self.element = element


EIGHT = Lanes("eight", ir.DoubleType())
MASK = Lanes("mask8", ir.IntType(1))


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(kind.element, LANES))


def _splat(builder, value):
    kind = ir.VectorType(value.type, LANES)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _operator(function, result, write, *arguments):
    """Type and write one operator on lanes."""

    template = type(f"{result}_{function.__name__}", (ConcreteTemplate,), {"cases": [signature(result, *arguments)]})
    infer_global(function)(template)
    lower_builtin(function, *arguments)(lambda context, builder, sig, args: write(builder, *args))


for _f, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _operator(_f, EIGHT, (lambda name: lambda b, x, y: getattr(b, name)(x, y))(_name), EIGHT, EIGHT)
for _f, _sign in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "==")):
    _operator(_f, MASK, (lambda sign: lambda b, x, y: b.fcmp_ordered(sign, x, y))(_sign), EIGHT, EIGHT)
_operator(operator.and_, MASK, lambda b, x, y: b.and_(x, y), MASK, MASK)
_operator(operator.or_, MASK, lambda b, x, y: b.or_(x, y), MASK, MASK)
_operator(operator.neg, EIGHT, lambda b, x: b.fneg(x), EIGHT)


def _row(context, builder, kind, array, index):
    """Pointer to row `index` of a (rows, 8) float64 array."""
    data = context.make_array(kind)(context, builder, value=array).data
    first = builder.gep(data, [builder.mul(index, ir.Constant(index.type, LANES))])
    return builder.bitcast(first, ir.VectorType(ir.DoubleType(), LANES).as_pointer())


def _is_rows(a):
    return isinstance(a, types.Array) and a.ndim == 2 and a.dtype == types.float64 and a.layout == "C"


@intrinsic
def get8(typing_context, a, i):
    """Row i of a (rows, 8) float64 array."""
    if not (_is_rows(a) and isinstance(i, types.Integer)):
        return None

    def write(context, builder, sig, args):
        return builder.load(_row(context, builder, sig.args[0], *args), align=8)

    return EIGHT(a, types.intp), write


@intrinsic
def put8(typing_context, a, i, x):
    """a[i] = x."""
    if not (_is_rows(a) and a.mutable and isinstance(i, types.Integer) and x == EIGHT):
        return None

    def write(context, builder, sig, args):
        builder.store(args[2], _row(context, builder, sig.args[0], *args[:2]), align=8)
        return context.get_dummy_value()

    return types.void(a, types.intp, x), write


@intrinsic
def all8(typing_context, v):
    """One number in all lanes."""
    return EIGHT(types.float64), lambda context, builder, sig, args: _splat(builder, args[0])


@intrinsic
def sqrt8(typing_context, x):
    """Square root, correctly rounded."""
    return EIGHT(EIGHT), lambda context, builder, sig, args: _library(builder, "llvm.sqrt.v8f64", args[0])


@intrinsic
def abs8(typing_context, x):
    """Magnitude."""
    return EIGHT(EIGHT), lambda context, builder, sig, args: _library(builder, "llvm.fabs.v8f64", args[0])


def _library(builder, name, x):
    module = builder.module
    function = module.globals.get(name) or ir.Function(module, ir.FunctionType(x.type, [x.type]), name)
    return builder.call(function, [x])


@intrinsic
def pick8(typing_context, m, x, y):
    """x in the lanes of m, else y."""
    return EIGHT(MASK, EIGHT, EIGHT), lambda context, builder, sig, args: builder.select(*args)


@intrinsic
def word8(typing_context, m):
    """A compare as int64, bit k = lane k."""

    def write(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(MASK), write


@intrinsic
def sum8(typing_context, x):
    """Sum of the lanes, halves upon halves."""

    def write(context, builder, sig, args):
        v = args[0]
        for half in (4, 2, 1):
            low, high = ([ir.Constant(ir.IntType(32), k) for k in range(a, a + half)] for a in (0, half))
            kind = ir.VectorType(ir.IntType(32), half)
            v = builder.fadd(builder.shuffle_vector(v, v, ir.Constant(kind, low)), builder.shuffle_vector(v, v, ir.Constant(kind, high)))
        return builder.extract_element(v, ir.Constant(ir.IntType(32), 0))

    return types.float64(EIGHT), write


if numba.config.DISABLE_JIT:

    def sum8(x):
        x = x[:4] + x[4:]
        return (x[0] + x[2]) + (x[1] + x[3])

    def get8(a, i):
        assert i >= 0
        return a[i].copy()

    def put8(a, i, x):
        assert i >= 0
        a[i] = x

    def all8(v):
        return np.full(LANES, float(v))

    def sqrt8(x):
        with np.errstate(invalid="ignore"):
            return np.sqrt(x)

    abs8, pick8 = np.abs, np.where

    def word8(m):
        return int((m.astype(np.int64) << np.arange(LANES)).sum())
