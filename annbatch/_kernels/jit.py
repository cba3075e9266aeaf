"""How kernels are compiled: without the GIL, into numba's cache, and again when any of them changed.

Numba keeps a compiled function for as long as its own file stays as it is, and the functions that it calls are compiled
into it. A release that mends one of these would go on running the old machine code of its callers, left behind in
``__pycache__`` or ``NUMBA_CACHE_DIR``. For functions of this folder, the whole folder is therefore compared.

And numba imports all that it can compile before it looks into its cache, which takes a process about as long as pandas
does. Only what a kernel compiles needs that.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba as nb
from numba.core import caching, sigutils
from numba.core.ccallback import CFunc
from numba.core.runtime.nrt import rtsys

if TYPE_CHECKING:
    from collections.abc import Callable

_FOLDER = Path(__file__).parent

_njit: Any = nb.njit  # its hints know neither all options nor that functions keep their types
Function = TypeVar("Function", bound="Callable[..., Any]")


_FunctionCache: Any = caching.FunctionCache  # numba has no hints for it


class _Cache(_FunctionCache):  # type: ignore[misc]  # mypy cannot check a base class of type Any
    """Compiled functions on disk, which are loaded without what only a compiler needs; numba refreshes it for that."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # the symbols of its memory manager
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def _cached(compiled: Any, function: Callable[..., Any]) -> Any:
    compiled._cache = _Cache(function)
    return compiled


def kernel(function: Function) -> Function:
    """Compile a function that Python calls."""
    return cast("Function", _cached(_njit(nogil=True)(function), function))


def inner(function: Function) -> Function:
    """Compile a function that only kernels call: a fifth faster than with what a call from Python needs.

    Without that, a call from Python ends the process.
    """
    compiler = _njit(nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return cast("Function", compiler(function))


@functools.cache
def address_of(function: Callable[..., Any], signature: Any) -> int:
    """Return the address of a compiled function, for :func:`~annbatch._kernels.intrinsics.caller`; compiled if need be.

    Threads that come together find it in numba's cache, behind numba's own lock.
    """
    compiled = _cached(CFunc(function, sigutils.normalize_signature(signature), locals={}, options={}), function)
    compiled.compile()
    _kept.append(compiled)
    return int(compiled.address)


_kept: list[Any] = []
"""Functions whose addresses are in use."""


@functools.cache
def content_of_kernels() -> bytes:
    """Return a digest of all files of this folder."""
    digest = hashlib.sha256()
    for path in sorted(_FOLDER.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


class _OfKernels:
    """A place for compiled functions, of those that numba knows, for functions of this folder."""

    def get_source_stamp(self) -> bytes:
        return content_of_kernels()

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        if Path(py_file).parent != _FOLDER:
            return None
        return super().from_function(py_func, py_file)  # type: ignore[misc]


_places: list[Any] = caching.CacheImpl._locator_classes
_places[:0] = [type(f"{place.__name__}OfKernels", (_OfKernels, place), {}) for place in _places]
