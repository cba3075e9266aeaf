"""Sizes to which sparse batches are padded, so that a jitted step meets few shapes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Literal

SMALLEST = 256
"""The smallest bucket of ``"pow2"``: below it, padding costs less than another compilation."""


def make_buckets(nse_buckets: Literal["pow2"] | Iterable[int] | None) -> Callable[[int], int]:
    """Return the function from a batch's nnz to its bucket's size.

    Parameters
    ----------
    nse_buckets
        As :class:`annbatch_jax.JaxAdapter` takes it.

    Raises
    ------
    ValueError
        If it is another string, is empty, or has a size that is not positive.

    Examples
    --------
    >>> from annbatch_jax._buckets import make_buckets
    >>> [make_buckets("pow2")(nnz) for nnz in (0, 256, 257, 5_000)]
    [256, 256, 512, 8192]
    >>> make_buckets([100, 1000])(101)
    1000
    """
    if nse_buckets is None:
        return _exactly
    if isinstance(nse_buckets, str):
        if nse_buckets != "pow2":
            raise ValueError(f"`nse_buckets` must be 'pow2', sizes or None, got {nse_buckets!r}.")
        return _power_of_two
    return _Sizes(nse_buckets)


def _exactly(nnz: int) -> int:
    return nnz


def _power_of_two(nnz: int) -> int:
    return 1 << (max(nnz, SMALLEST) - 1).bit_length()


class _Sizes:
    """The smallest of given sizes that is large enough."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self._sizes = sorted(set(sizes))
        if not self._sizes or self._sizes[0] <= 0:
            raise ValueError(f"`nse_buckets` must be positive sizes, at least one, got {self._sizes}.")

    def __call__(self, nnz: int) -> int:
        index = bisect_left(self._sizes, nnz)
        if index == len(self._sizes):
            greatest = self._sizes[-1]
            raise ValueError(f"`nse_buckets` must hold every batch, got at most {greatest} for one of {nnz} non-zeros.")
        return self._sizes[index]
