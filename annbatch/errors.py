"""Errors that annbatch raises beyond Python's own.

::

    Exception
    └── AnnbatchError
        ├── StoreError (also OSError)
        │   ├── NotACollectionError
        │   │   └── MissingCollectionError (also FileNotFoundError)
        │   ├── CorruptDataError
        │   └── RemoteError
        ├── MissingDependencyError (also ImportError)
        └── DeviceMemoryError (also MemoryError)

Wrong arguments raise :class:`ValueError` or :class:`TypeError`, whose text gives the argument, the rule and the value.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class AnnbatchError(Exception):
    """Base of every error that is annbatch's own."""


class StoreError(AnnbatchError, OSError):
    """Something on disk is missing, damaged or of another kind than needed."""


class NotACollectionError(StoreError):
    """The path does not hold a finished collection."""


class MissingCollectionError(NotACollectionError, FileNotFoundError):
    """There is nothing at the path."""


class CorruptDataError(StoreError):
    """Stored bytes contradict their checksum, their length or the schema."""


class RemoteError(StoreError):
    """An object store refused a request, or did not answer it within the deadline."""


class MissingDependencyError(AnnbatchError, ImportError):
    """An optional package is needed and not installed; the text gives the command to install it."""


_PANIC = "pyo3_runtime"
"""Module of the error, which is no ``Exception``, that code in Rust raises where it did not expect its input."""


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Raise :class:`CorruptDataError` that names ``where`` instead of what h5py, zarr or NumPy raise of odd data.

    Errors of the system and of networks, and those of annbatch that name the file, remain, with a note.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != _PANIC:
            raise
        if _is_of_odd_data(error, where.rpartition(" of ")[2]):
            corrupt = CorruptDataError(
                f"{where} cannot be read, {type(error).__name__}: {error}. Is it damaged, or not as anndata writes it?"
            )
            for note in getattr(error, "__notes__", ()):  # anndata's tell the element
                corrupt.add_note(note)
            raise corrupt from error
        if where not in str(error):
            error.add_note(f"While reading {where}.")
        raise


@contextmanager
def reading_object(adata: Any, where: str) -> Iterator[None]:
    """As :func:`reading`, for an AnnData object; a view of a backed one may choose what anndata cannot read."""
    try:
        with reading(where):
            yield
    except CorruptDataError as error:
        if not (getattr(adata, "is_view", False) and adata.isbacked):
            raise
        raise ValueError(
            f"{where} must be a selection of a backed AnnData that anndata can read, got {error.__cause__}: select "
            "from `adata.to_memory()`, or rows in ascending order."
        ) from error.__cause__


def _is_of_odd_data(error: BaseException, place: str) -> bool:
    if isinstance(error, AnnbatchError):
        return False
    if isinstance(error, OSError):
        # HDF5's; the system's have numbers. One of those is about a name that is too long to be one.
        return type(error) is OSError and error.errno in (None, errno.ENAMETOOLONG)
    *_, (frame, _) = walk_tb(error.__traceback__)
    is_ours = str(frame.f_globals.get("__name__")).startswith("annbatch.")
    if isinstance(error, RuntimeError):  # numcodecs' about damage, not annbatch's about use
        return not is_ours
    if is_ours and place in str(error):
        return False
    known = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
    return isinstance(error, known) or type(error).__module__.startswith(("anndata.", _PANIC))


class DeviceMemoryError(AnnbatchError, MemoryError):
    """A device has no room for a window or a batch; the text tells how to need less memory."""

    @classmethod
    @contextmanager
    def instead_of(
        cls, error: type[Exception], what: str, nbytes: int, device: object, *, code: str = ""
    ) -> Iterator[None]:
        """Raise this error where a framework raises its own, because a device has no room.

        Parameters
        ----------
        error
            Type of the framework's error.
        what, nbytes, device
            Object that needs room, its size and the device, for the text.
        code
            Part of the framework's text without which its error means something else.
        """
        try:
            yield
        except error as exc:
            if code not in str(exc):
                raise
            raise cls(
                f"{what} of {nbytes:,} bytes does not fit into the free memory of {device}: make `batch_size` or "
                "`preload_nchunks` smaller, read fewer windows ahead (`prefetch='200MB'`), or keep fewer batches."
            ) from exc
