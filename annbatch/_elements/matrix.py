"""One matrix over all datasets: checks that they fit together, and chooses the element that reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .._anndata.variables import Variables
from .._arrays.exact import ExactArray, may_round
from .._arrays.rows import CsrSource, DenseSource
from ..transforms import NormalizeLog1p
from .csr import CsrElement
from .csr_selected import SelectedElement
from .dense import DenseElement, DensifiedElement
from .dense_selected import DenseSelectedElement
from .element import Element
from .form import MatrixForm
from .measured import MeasuredCsr, MeasuredElement
from .staged import staged_element
from .transformed import TransformedElement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._arrays.open import RowSource


_BELIEVED = 1 << 26
"""Places of a dense matrix that take little memory, whatever is stored."""

_SPARSEST = 8192
"""Places per stored value of a matrix whose number of columns is believed without their names."""


@dataclass(frozen=True, slots=True)
class MatrixSources:
    """One matrix, sparse or dense, of all datasets that have it.

    Attributes
    ----------
    key
        Key of the element, which errors name.
    sources
        Source of each dataset that has it, by the number of the dataset.
    """

    key: str
    sources: Mapping[int, RowSource]

    @property
    def first(self) -> RowSource:
        """Source of the first dataset that has one."""
        return next(iter(self.sources.values()))

    def check_another(self, source: RowSource, number: int, *, joined: bool) -> None:
        """Raise ``ValueError`` unless a source fits the others.

        Parameters
        ----------
        number
            Number of its dataset.
        joined
            Whether datasets may differ in their columns.
        """
        if not self.sources:
            return
        first, number_of_first = self.first, next(iter(self.sources))
        if isinstance(source, CsrSource) != isinstance(first, CsrSource):
            raise ValueError(
                f"`{self.key}` must be sparse in all datasets or dense in all: "
                f"dataset {number_of_first} is {first.describe()}, dataset {number} is {source.describe()}."
            )
        if source.shape[1:] != first.shape[1:] and not (joined and len(source.shape) == len(first.shape) == 2):
            raise ValueError(
                f"`{self.key}` must have rows of one shape: dataset {number_of_first} has {first.shape[1:]}, "
                f"dataset {number} has {source.shape[1:]}; `var_join` joins different genes."
            )

    def element(self, variables: Variables | None, form: MatrixForm) -> Element:
        """Return the element that plans the reading of this matrix.

        Parameters
        ----------
        variables
            Columns of a batch; None: those that are stored.
        form
            Form of the matrix in batches.

        Raises
        ------
        ValueError
            If the data cannot be made into that form, or not in its dtype. When an integer is read that the common
            dtype of all datasets would round.
        """
        if variables is None:
            variables = Variables(None, None, (*self.first.shape, 1)[1])
        if variables.var is None and form.dense != "no":
            self._check_width()
        dtype, transform = form.dtype, form.transform
        if dtype is None:
            dtype = _common_dtype([source.dtype for source in self.sources.values()], self.key)
        exact = self._exact(dtype) if form.dtype is None and transform is None else self
        if transform is not None:
            made = transform.dtype(dtype)
            if form.dtype not in (None, made):
                raise ValueError(f"`dtype` must be {made}, which {transform!r} makes of it, got {dtype}.")
            dtype = made
        if form.dense == "window":
            sparse = tuple(source for source in exact._every() if isinstance(source, CsrSource))
            staged = staged_element(sparse, variables, dtype, form)
            if staged is not None:
                return staged
        element = exact._untransformed(variables, dtype, form)
        if transform is None:
            return element
        if isinstance(element, DensifiedElement) and isinstance(transform, NormalizeLog1p):
            return replace(element, target_sum=transform.target_sum)
        return TransformedElement(element, transform)

    def measured(
        self, variables: Variables | None, form: MatrixForm, *, by_group: bool
    ) -> MeasuredCsr | MeasuredElement:
        """Return the element that adds up the values of this matrix, as stored or as ``form`` transforms them.

        Sparse matrices as stored are added up while they are decoded, unless rows belong to groups.

        Raises
        ------
        TypeError
            If they are not real numbers.
        ValueError
            If rows have more than one dimension.
        """
        shape = self.first.shape
        stored = np.result_type(*(source.arrays[0].dtype for source in self.sources.values()))
        if len(shape) != 2:
            raise ValueError(f"`{self.key}` must have 2 dimensions to be measured by columns, got {len(shape)}.")
        if stored.kind not in "biuf":
            raise TypeError(f"`{self.key}` must hold real numbers to be measured, got {stored}.")
        width = shape[1] if variables is None else variables.count
        if variables is None or form.transform is None:
            sparse = tuple(source for source in self._every() if isinstance(source, CsrSource))
            if sparse and not by_group:
                columns = None if variables is None else variables.columns
                return MeasuredCsr(sparse, columns or (np.empty(0, np.int32),) * len(sparse), width)
            dtype = np.dtype(np.float32) if stored == np.float16 else stored  # numba has no float16 on the CPU
            form = MatrixForm(dtype=dtype)
        element = self.element(variables, MatrixForm(dtype=form.dtype, transform=form.transform))
        return MeasuredElement(self.key, element, width)

    def _untransformed(self, variables: Variables, dtype: np.dtype, form: MatrixForm) -> Element:
        from .._kernels.scatter import kernels_cast

        every, columns, width = self._every(), variables.columns, variables.count
        sparse = tuple(source for source in every if isinstance(source, CsrSource))
        dense = tuple(source for source in every if isinstance(source, DenseSource))
        if dense and columns is not None:
            if len(dense[0].shape) != 2:
                raise ValueError(
                    f"`var_names` and `var_join` need `{self.key}` of 2 dimensions, got {len(dense[0].shape)}."
                )
            return DenseSelectedElement(dense, columns, width, dtype)
        if dense:
            return DenseElement(dense, dense[0].shape[1:], dtype)
        has_kernels, on_host = kernels_cast(dtype, dtype), form.dense == "host"
        if columns is None and not (on_host and has_kernels):
            if dtype == np.float16 and form.adapter is None and form.dense == "no":
                raise ValueError(
                    "`dtype` must not be float16 for SciPy matrices, which have no such dtype: ask for float32."
                )
            return CsrElement(sparse, width, dtype, form.capacity)  # float16, without kernels, is densified later
        if not has_kernels:
            raise ValueError(f"`dtype` must be bool, integer, float32 or float64 to choose columns, got {dtype}.")
        if columns is None or on_host:
            unchanged = (np.empty(0, dtype=np.int32),) * len(sparse)
            return DensifiedElement(sparse, unchanged if columns is None else columns, width, dtype)
        if all((np.diff(one, prepend=-1) > 0).all() for one in columns):
            return CsrElement(sparse, width, dtype, form.capacity, columns)  # all are kept, in their order
        return SelectedElement(sparse, columns, width, dtype, form.capacity)

    def _check_width(self) -> None:
        """Raise ``ValueError`` if nothing but a sparse matrix's own word makes its dense rows large."""
        for source in self.sources.values():
            if not isinstance(source, CsrSource):
                continue
            (n_rows, width), n_stored = source.shape, source.data.shape[0]
            if n_rows * width > max(_BELIEVED, _SPARSEST * n_stored):
                raise ValueError(
                    f"`{self.key}` must hold a value in one of {_SPARSEST:,} places to be made dense, or come with "
                    f"`var`, which shows that it has so many columns: got {n_stored:,} values for {n_rows:,} x "
                    f"{width:,}. Leave `densify` out, or add it with its `var`."
                )

    def describe(self) -> str:
        """Describe how it is read."""
        return "; ".join(dict.fromkeys(source.describe() for source in self.sources.values()))

    def _exact(self, dtype: np.dtype) -> MatrixSources:
        """Return the matrix, of which integers are checked where ``dtype``, common to all datasets, may round them."""
        sources = dict(self.sources)
        for number, source in sources.items():
            if may_round(source.arrays[0].dtype, dtype):
                where = f"`{self.key}` of dataset {number}"
                sources[number] = source.with_values(ExactArray(source.arrays[0], dtype, where))
        return replace(self, sources=sources)

    def _every(self) -> list[RowSource]:
        """Return one source per dataset; where there is none, one that is never asked for rows."""
        return [self.sources.get(number, self.first) for number in range(max(self.sources) + 1)]


def _common_dtype(dtypes: list[np.dtype], key: str) -> np.dtype:
    dtype = np.result_type(*dtypes)
    if dtype.kind == "f" and all(one.kind in "biu" for one in dtypes):  # int64 and uint64: NumPy would round
        names = sorted({str(one) for one in dtypes})
        raise ValueError(
            f"`dtype` must be given where datasets hold `{key}` of {' and '.join(names)}, which none holds exactly."
        )
    return dtype
