"""Turn a window that was read into the user's batches, converted by the adapter."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np
import pandas as pd

from .._anndata.keys import has_var_axis, path_of
from .._arguments import check_choice, flag
from .._elements.encoded import Encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._anndata.table import ObsTable, ObsWindow
    from .._elements.form import MatrixForm
    from .._plan.window_rows import DatasetRows
    from ..samplers._base import Sampler
    from ..samplers._sets import SetSampler
    from ..types import LoaderOutput
    from .covariates import Covariates, CovariateTables
    from .window import LoadedWindow

ObsAs: TypeAlias = Literal["dataframe", "arrays"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """The form of batches.

    Attributes
    ----------
    form
        Form of X and layers; other elements become arrays of the same adapter.
    obs_as
        ``"dataframe"`` or ``"arrays"``.
    return_index
        Whether batches carry their global row numbers.
    covariates
        What batches hold of the group of each of their sets.
    """

    form: MatrixForm
    obs_as: ObsAs
    return_index: bool
    covariates: Covariates | None = None

    def __post_init__(self) -> None:
        check_choice("obs_as", self.obs_as, get_args(ObsAs))
        flag(self.return_index, "return_index")

    def with_covariates(self, tables: CovariateTables | None, sampler: Sampler) -> Delivery:
        """Return the form of batches that hold what tables have for a sampler's groups."""
        if tables is None:
            return self
        if not hasattr(sampler, "groups"):
            name = type(sampler).__name__
            raise ValueError(
                f"`covariates` need a sampler of sets, such as a SetSampler as `batch_sampler`, got {name}."
            )
        sets = cast("SetSampler", sampler)  # or one around it
        return replace(self, covariates=tables.by_group(sets.groups, sets.drawn_groups()))

    def gather(self, table: ObsTable, shares: list[DatasetRows], n_rows: int) -> ObsWindow:
        """Gather the annotations of a window's rows, in the form that batches have them."""
        return table.frame(shares, n_rows) if self.obs_as == "dataframe" else table.arrays(shares, n_rows)

    def batches(self, window: LoadedWindow, annotations: VarTables) -> Iterator[LoaderOutput]:
        """Yield the batches of a window; those that the adapter wants in advance are converted in advance."""
        ahead = 0 if self.form.adapter is None else self.form.adapter.ahead
        made: deque[LoaderOutput] = deque()
        for number in range(window.rows.n_batches):
            made.append(self.batch(window, number, annotations))
            if len(made) > ahead:
                yield made.popleft()
        while made:  # a popped batch is the user's alone: its memory is returned when they drop it
            yield made.popleft()

    def batch(self, window: LoadedWindow, number: int, annotations: VarTables) -> LoaderOutput:
        """Return a batch as the user gets it, with its partners within it."""
        rows = window.rows
        main, *others = range(number * (1 + len(rows.partners)), (number + 1) * (1 + len(rows.partners)))
        batch = self._part(window, main, annotations)
        for name, other in zip(rows.partners, others, strict=True):
            batch[name] = self._part(window, other, annotations)
        for name, arrays in rows.extras.items():
            _put(batch, name, self._extra(name, arrays[number]))
        if self.covariates is not None:
            batch["covariates"] = self.covariates.batch(rows.extras["group"][number], self.form.as_stored())
        return batch  # type: ignore[return-value]  # which elements there are is up to `keys`

    def _part(self, window: LoadedWindow, number: int, annotations: VarTables) -> dict[str, Any]:
        """Return a part of a batch: elements in dicts as deep as their keys."""
        start, stop = int(window.rows.edges[number]), int(window.rows.edges[number + 1])
        batch: dict[str, Any] = {}
        for key in window.elements:
            value = window.element(key, number)
            if isinstance(value, Encoded):
                batch[key] = {name: self.form.as_stored().convert(array) for name, array in value.tokens.items()}
                if value.key is None:
                    continue
                key, value = value.key, value.matrix
            form = self.form if has_var_axis(key) else self.form.as_stored()
            _put(batch, key, form.convert(value))
        for key in window.frames:
            _put(batch, key, self._convert_obs(key, window.frame(key, start, stop)))
        batch.setdefault("obs", None)
        # A dict of arrays is a pytree, which jitted functions take; a DataFrame in it would be none of their types.
        as_frames = self.obs_as == "dataframe"
        for prefix, var in annotations.modalities.items():
            _put(batch, f"{prefix}var", var if as_frames else None)
        batch["var"] = annotations.var if as_frames else None
        batch["index"] = window.rows.rows[start:stop] if self.return_index else None
        return batch

    def _extra(self, name: str, array: np.ndarray) -> Any:
        """Return an array of a sampler's; integers as labels are, which indexing and embedding layers take."""
        if name.endswith("/index"):  # of rows, as that of the batch
            return array if self.return_index else None
        array, adapter = np.asarray(array), self.form.adapter
        if array.dtype.kind in "iu":
            dtype = np.dtype(np.int64 if adapter is None else adapter.labels_dtype)
            if array.size and not (np.iinfo(dtype).min <= array.min() and array.max() <= np.iinfo(dtype).max):
                raise ValueError(f"`extras[{name!r}]` must be integers that {dtype} holds, got {array.max()}.")
            array = array.astype(dtype)
        return self.form.as_stored().convert(np.ascontiguousarray(array)) if array.dtype.kind in "biuf" else array

    def _convert_obs(self, key: str, obs: Any) -> Any:
        if isinstance(obs, pd.DataFrame):
            return obs
        if isinstance(obs, np.ndarray):
            return self.form.convert(obs)
        return {name: self._convert_column(key, name, array) for name, array in obs.items()}

    def _convert_column(self, key: str, name: str, array: np.ndarray) -> Any:
        try:
            return self.form.convert(array) if array.dtype.kind in "biuf" else array
        except TypeError as error:
            reason = str(error).partition("; for X")[0]
            raise TypeError(
                f"Column {name!r} of `{key}`: {reason}; or leave it out (`obs_columns`), keep it on the host "
                "(`obs_as='dataframe'`), or, if it names classes, take their numbers (`labels`)."
            ) from error


@dataclass(frozen=True, slots=True)
class VarTables:
    """``var`` of every batch.

    Attributes
    ----------
    var
        Annotations of the columns of X and layers; None where there are none.
    modalities
        The same for each modality, by the prefix of its keys.
    """

    var: pd.DataFrame | None
    modalities: Mapping[str, pd.DataFrame | None]


def _put(batch: dict[str, Any], key: str, value: Any) -> None:
    *outer, name = path_of(key)
    for part in outer:
        batch = batch.setdefault(part, {})
    batch[name] = value
