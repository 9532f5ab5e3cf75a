"""Arrays and kernels by their address. Every array argument of a kernel costs 40 to 100 ns of dispatch from Python, so a call that is
made for each packet or tick takes the address of a control block of words, and finds its arrays there. A kernel that is called by address
is not compiled again into its caller. Who fills the block (pipeline/block.py) keeps memory and kernels alive and in place."""

import ctypes

import numpy as np
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

SLOT = 5  # words of an array in a block: its address, the lengths of at most four dimensions

if config.DISABLE_JIT:  # the same in plain Python

    def array_at(address, n, dtype):
        """Array of n values over memory at an address."""
        size = int(n) * np.dtype(dtype).itemsize
        return np.frombuffer((ctypes.c_uint8 * size).from_address(int(address)), np.uint8).view(dtype)

    def table_at(address, rows, columns, dtype):
        """Array of shape (rows, columns) over memory at an address."""
        return array_at(address, rows * columns, dtype).reshape(rows, columns)

    def array_in(block, place, dimensions, dtype):
        """The array at a place of a block."""
        words = array_at(block + 8 * SLOT * place, SLOT, np.int64)
        shape = words[1 : 1 + dimensions]
        return array_at(words[0], shape.prod(), dtype).reshape(shape)

    def call_at(address, arguments):
        """There is no machine code to call."""
        raise RuntimeError("a kernel is called by its address in compiled code only: the JIT is off")

else:

    def _array(context, builder, array_type, address, shape):
        array = context.make_array(array_type)(context, builder)
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
        strides = [size]
        for length in shape[:0:-1]:
            strides.insert(0, builder.mul(length, strides[0]))
        populate_array(array, data=builder.inttoptr(address, array.data.type), shape=shape, strides=strides, itemsize=size, meminfo=None)
        return array._getvalue()

    def _view(address, shape, dtype):
        array_type = types.Array(dtype.dtype, len(shape), "C")

        def codegen(context, builder, signature, args):
            return _array(context, builder, array_type, args[0], args[1:-1])

        return array_type(address, *shape, dtype), codegen

    @intrinsic
    def array_at(typingctx, address, n, dtype):
        """Array of n values over memory at an address. Unlike `carray` it needs no reference counts."""
        return _view(types.int64, (types.int64,), dtype)

    @intrinsic
    def table_at(typingctx, address, rows, columns, dtype):
        """Array of shape (rows, columns) over memory at an address."""
        return _view(types.int64, (types.int64, types.int64), dtype)

    @intrinsic(prefer_literal=True)
    def array_in(typingctx, block, place, dimensions, dtype):
        """The array at a place of a block; `dimensions` is a constant."""
        array_type = types.Array(dtype.dtype, dimensions.literal_value, "C")

        def codegen(context, builder, signature, args):
            at = builder.mul(args[1], context.get_constant(types.int64, 8 * SLOT))
            words = builder.inttoptr(builder.add(args[0], at), context.get_value_type(types.int64).as_pointer())
            address, *shape = (builder.load(cgutils.gep_inbounds(builder, words, i)) for i in range(array_type.ndim + 1))
            return _array(context, builder, array_type, address, shape)

        return array_type(types.int64, types.int64, dimensions, dtype), codegen

    @intrinsic
    def call_at(typingctx, address, arguments):
        """Call the kernel at an address with a tuple of arguments of exactly its declared types; it returns nothing."""

        def codegen(context, builder, signature, args):
            given = list(signature.args[1])
            call = context.call_conv
            kind = call.get_function_type(types.none, given)
            values = cgutils.unpack_tuple(builder, args[1], len(given))
            status, _ = call.call_function(builder, builder.inttoptr(args[0], kind.as_pointer()), types.none, given, values)
            with cgutils.if_unlikely(builder, status.is_error):
                call.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.void(types.int64, arguments), codegen
