"""Changes of the values of X while they are read: ``Loader(transform=...)``.

>>> import annbatch.transforms
>>> annbatch.transforms.__all__
['NormalizeLog1p', 'Transform']
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NormalizeLog1p", "Transform"]


@runtime_checkable
class Transform(Protocol):
    """Changes the values of X, row by row.

    A sparse row and the same row made dense must come out alike: a transform maps 0 to 0, and does not depend on
    the number of zeros. It sees the columns that batches have, so a gene panel alone where ``var_names`` names one.
    Where a sparse row holds a column more than once, the first of these values is their sum, and the others are 0.

    **Threads.** Called on annbatch's threads, at once for different rows; so it holds no state that a call changes.
    It is pickled with its loader.

    Examples
    --------
    The square root, which stabilises the variance of counts:

    >>> import numpy as np
    >>> from annbatch import Loader
    >>> class Root:
    ...     def dtype(self, dtype):
    ...         return np.result_type(dtype, np.float32)
    ...
    ...     def __call__(self, values, edges):
    ...         np.sqrt(values, out=values)
    >>> loader = Loader(batch_size=2, chunk_size=2, preload_nchunks=1, transform=Root())
    >>> next(iter(loader.add_dataset(np.array([[4, 9], [1, 0]], dtype="uint16"))))["X"]
    array([[2., 3.],
           [1., 0.]], dtype=float32)
    """

    def dtype(self, dtype: np.dtype) -> np.dtype:
        """Return the dtype of the values that the transform receives and returns for data of ``dtype``.

        Raises
        ------
        TypeError
            If the transform does not take such values; the text names the dtype and a remedy.
        """

    def __call__(self, values: np.ndarray, edges: np.ndarray) -> None:
        """Change the values of some rows in place.

        Parameters
        ----------
        values
            Values of the rows, concatenated; for sparse rows, the stored values. Their dtype is what :meth:`dtype`
            returned.
        edges
            ``(n_rows + 1,)`` ints; row ``i`` is ``values[edges[i]:edges[i + 1]]``.
        """


@dataclass(frozen=True, slots=True)
class NormalizeLog1p:
    """Scales each row to a total and takes ``log(1 + x)``: scanpy's ``normalize_total`` and ``log1p`` in one pass.

    Parameters
    ----------
    target_sum
        Total of each row before the logarithm.

    Notes
    -----
    A value ``x`` becomes ``log1p(x * target_sum / total)``, where ``total`` is the sum of its row over the columns that
    batches have. A row whose total is 0 does not change, and a 0 stays 0 exactly. On the host the formula is worked out
    in float64 and rounded once, to float32 (to float64 where the data is); a device works it out in float32, which
    differs by less than 1e-6 of the value for counts, and rounds once more to float16 or bfloat16.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader
    >>> from annbatch.transforms import NormalizeLog1p
    >>> loader = Loader(
    ...     batch_size=2, chunk_size=2, preload_nchunks=1, transform=NormalizeLog1p(10)
    ... )
    >>> next(iter(loader.add_dataset(np.array([[1, 4], [0, 0]], dtype="uint16"))))[
    ...     "X"
    ... ].round(3)
    array([[1.099, 2.197],
           [0.   , 0.   ]], dtype=float32)
    """

    target_sum: float = 1e4

    def __post_init__(self) -> None:
        if not (self.target_sum > 0 and math.isfinite(self.target_sum)):
            raise ValueError(f"`target_sum` must be positive and finite, got {self.target_sum}.")
        object.__setattr__(self, "target_sum", float(self.target_sum))  # kernels are compiled for each type

    def dtype(self, dtype: np.dtype) -> np.dtype:
        """Return float64 for float64, else float32.

        Raises
        ------
        TypeError
            If the values are not real numbers, or the kernels lack their dtype.
        """
        import numpy as np

        if dtype.kind in "biu" or dtype in (np.float32, np.float64):
            return np.dtype(np.float64 if dtype == np.float64 else np.float32)
        raise TypeError(f"NormalizeLog1p returns float32 or float64, got dtype {dtype}: set `dtype='float32'`.")

    def __call__(self, values: np.ndarray, edges: np.ndarray) -> None:
        """Normalize rows in place."""
        from ._kernels.normalize import normalize_rows

        normalize_rows(values, edges, self.target_sum)


def check_transform(transform: Transform | None) -> Transform | None:
    """Return the argument of ``Loader(transform=...)``, checked.

    Raises
    ------
    TypeError
        If it is no transform, or the class of one.
    """
    if transform is not None and (isinstance(transform, type) or not isinstance(transform, Transform)):
        raise TypeError(
            "`transform` must be None or have the two methods of annbatch.transforms.Transform, as "
            f"NormalizeLog1p(1e4) has, got {transform!r}."
        )
    return transform
