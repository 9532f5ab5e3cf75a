"""Call a compiled C predictor by its address from a kernel: no GIL, no Python object in between.

The address is data, not a constant of the code, so numba's cache stays valid when a library is loaded somewhere else."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tickarrow.jit._kernel import kernel


@intrinsic
def _call_predict(typing_context, function, entries, result):
    """`void predict(union Entry *entries, int pred_margin, float *result)` at address `function`; pred_margin = 1."""
    signature = types.void(types.uint64, types.uint64, types.uint64)

    def generate(context, builder, sig, args):
        pointer = ir.IntType(8).as_pointer()
        integer = ir.IntType(32)
        prototype = ir.FunctionType(ir.VoidType(), [pointer, integer, pointer])
        callee = builder.inttoptr(args[0], prototype.as_pointer())
        builder.call(callee, [builder.inttoptr(args[1], pointer), ir.Constant(integer, 1), builder.inttoptr(args[2], pointer)])
        return context.get_dummy_value()

    return signature, generate


@kernel("u8[:], f4[:,:], i8, i8, out f4[:], out f4[:,:]")
def predictors(address, x, lo, hi, entries, y):
    """Call every compiled model for every row.

    Parameters
    ----------
    address : (n_models,) uint64, address of each `predict`; the caller keeps the library loaded
    x : (capacity, n_features) float32, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    entries : (n_features,) float32, scratch: the row as tl2cgen's union Entry
    y : (>= hi - lo, n_models) float32, out; row 0 belongs to row `lo`

    References
    ----------
    tl2cgen, generated header: `union Entry { int missing; float fvalue; }`, missing = -1, that is bits 0xFFFFFFFF.
    """
    missing = entries.view(np.int32)
    n_models = address.shape[0]
    for i in range(lo, hi):
        for f in range(entries.shape[0]):
            v = x[i, f]
            if np.isnan(v):
                missing[f] = -1
            else:
                entries[f] = v
        row = np.uint64(entries.ctypes.data)
        result = np.uint64(y.ctypes.data) + np.uint64(4) * np.uint64((i - lo) * n_models)
        for m in range(n_models):
            _call_predict(address[m], row, result + np.uint64(4 * m))
