"""numba's decorator of functions that write machine code themselves, with the type that it has in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import extending

intrinsic: Callable[[Any], Any] = extending.intrinsic  # whose own hints are those of the definition, not of a call
