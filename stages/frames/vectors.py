"""What the kernels need of the compiler and numba has no word for: functions in LLVM's language, inlined into them.

They take the processor for little endian, as all are that numba compiles for.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

RECORD_BYTES = 5
RECORDS_AT_ONCE = 12
BYTES_SEEN = 64  # of these records and of what follows, and as many from the next record on

LONGEST_LINE = 4096  # pixels of a frame


@intrinsic
def stack_line(typing_context):
    """Memory for `LONGEST_LINE` float32 on the stack: the compiler knows that nothing else points there."""

    def codegen(context, builder, signature, arguments):
        return cgutils.alloca_once(builder, ir.FloatType(), size=LONGEST_LINE)

    return types.CPointer(types.float32)(), codegen


@intrinsic
def first_bytes(typing_context, data, at):
    """Four bytes of data (n,) uint8 from `at` on as one little endian number."""

    def codegen(context, builder, signature, arguments):
        start = builder.gep(context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]])
        return builder.load(builder.bitcast(start, ir.IntType(32).as_pointer()), align=1)

    return types.uint32(data, types.uintp), codegen


@intrinsic
def look_at_records(typing_context, data, at, low, high):
    """Of the 12 raw records at byte `at` of data: whether the time of one is later than that of the record after it.

    low, high: (64,) uint8, the range of each byte seen, widened. Reads RECORD_BYTES + BYTES_SEEN bytes; the compiler by
    itself makes no vectors of bytes that lie 5 apart.
    """

    def codegen(context, builder, signature, arguments):
        data, low, high = (
            context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 2, 3)
        )
        seen, words = ir.VectorType(ir.IntType(8), BYTES_SEEN), ir.VectorType(ir.IntType(32), BYTES_SEEN // 4)

        def vector(pointer):
            return builder.bitcast(pointer, seen.as_pointer())

        start = builder.gep(data, [arguments[1]])
        here = builder.load(vector(start), align=1)
        after = builder.load(vector(builder.gep(start, [ir.Constant(ir.IntType(64), RECORD_BYTES)])), align=1)
        for sign, kept in (("<", low), (">", high)):
            before = builder.load(vector(kept), align=1)
            farther = builder.select(builder.icmp_unsigned(sign, here, before), here, before)
            builder.store(farther, vector(kept), align=1)

        # bytes 4, 3 and 2 of each record, then a zero: its time as a little endian word
        zero = BYTES_SEEN
        places = [place for i in range(0, RECORDS_AT_ONCE * RECORD_BYTES, 5) for place in (i + 4, i + 3, i + 2, zero)]
        order = ir.Constant(ir.VectorType(ir.IntType(32), BYTES_SEEN), places + [zero] * (BYTES_SEEN - len(places)))
        zeros, time_bits = ir.Constant(seen, [0] * BYTES_SEEN), ir.Constant(words, [(1 << 23) - 1] * words.count)
        times, times_after = (
            builder.and_(builder.bitcast(builder.shuffle_vector(records, zeros, order), words), time_bits)
            for records in (here, after)
        )
        earlier = builder.bitcast(builder.icmp_unsigned("<", times_after, times), ir.IntType(words.count))
        return builder.icmp_unsigned("!=", earlier, ir.Constant(earlier.type, 0))

    return types.boolean(data, types.uintp, low, high), codegen
