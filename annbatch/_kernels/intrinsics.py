"""Arrays of which kernels cut slices by the million, without counting the references to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import extending

if TYPE_CHECKING:
    from collections.abc import Callable

intrinsic: Callable[[Any], Any] = extending.intrinsic
"""numba's decorator, retyped: its own hints describe the definition of an intrinsic, not a call of it."""


@intrinsic
def borrowed(typing: Any, array: Any) -> Any:
    """Return the same array, of whose slices no reference is counted; whoever calls the kernel keeps its memory.

    numba counts the references to each slice with locked instructions, and each waits until all that was written before
    has left the core: rows of 64 values take 30 ns instead of 14, rows of 1,600 take 400 instead of 250
    (uint16 to float32).
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder, arguments[0])
        for owner in ("meminfo", "parent"):
            setattr(made, owner, ir.Constant(getattr(made, owner).type, None))
        return made._getvalue()

    return array(array), generate
