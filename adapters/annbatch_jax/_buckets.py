"""Sizes to which sparse batches are padded, so that a jitted step meets few shapes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Literal

SMALLEST = 256
"""Smallest size with ``"pow2"``: below it, padding costs less than another compilation."""


def make_buckets(nse_buckets: Literal["pow2"] | Iterable[int] | None) -> Callable[[int], int]:
    """Return a function from the nnz of a batch to its padded size.

    Parameters
    ----------
    nse_buckets
        Argument of :class:`annbatch_jax.JaxAdapter`.

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
    """Returns the smallest of the given sizes that is large enough."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self._sizes = sorted(set(sizes))
        if not self._sizes or self._sizes[0] <= 0:
            raise ValueError(f"`nse_buckets` must be positive sizes, at least one, got {self._sizes}.")

    def __call__(self, nnz: int) -> int:
        index = bisect_left(self._sizes, nnz)
        if index == len(self._sizes):
            largest = self._sizes[-1]
            raise ValueError(f"`nse_buckets` must fit every batch, got at most {largest} for {nnz} non-zeros.")
        return self._sizes[index]
