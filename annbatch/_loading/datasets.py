"""The datasets of a loader: the elements that are read of each, and the checks that they fit together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._anndata.dataset import Dataset
from .._anndata.keys import has_var_axis, split_key
from .._anndata.labels import Labels
from .._anndata.table import ObsTable
from .._anndata.variables import Variables, check_same_var, join_variables
from .._arguments import did_you_mean, unknown_names
from .._arrays.rows import CsrSource, DenseSource
from .._elements.matrix import MatrixSources
from .._plan.window_rows import rows_by_dataset
from .encoding import encoded_element
from .modalities import Presence
from .neighbors import NeighborGraph

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._anndata.columns import Values
    from .._anndata.containers import Container
    from .._anndata.frames import ObsFrame
    from .._anndata.graphs import RowGraph
    from .._arrays.open import RowSource
    from .._elements.element import Element
    from .._elements.encoded import EncodedElement
    from .._elements.form import MatrixForm
    from .._elements.measured import MeasuredCsr, MeasuredElement
    from .selection import Selection


@dataclass(frozen=True, slots=True)
class _Opened:
    """The opened elements of one dataset. The object they came from is released, so that it need not be pickled."""

    n_obs: int
    kind: type
    modalities: list[str]
    rows: Mapping[str, Values]
    elements: Mapping[str, RowSource | ObsFrame]
    var: Mapping[str, pd.DataFrame | None]
    obs: ObsFrame | None
    graph: RowGraph | None


class Datasets:
    """The datasets of one loader, in the order in which they were added.

    Parameters
    ----------
    selection
        Elements and columns that are read.
    form
        Form of X and layers in batches.
    """

    def __init__(self, selection: Selection, form: MatrixForm) -> None:
        self._selection, self._form = selection, form
        self._opened: list[_Opened] = []
        self._variables: dict[str, Variables] = {}
        self._tables: dict[str, ObsTable] = {}
        self._frames: list[pd.DataFrame] | None = None
        self._encoded: EncodedElement | None = None
        self.labels: Labels | None = None
        """Labels of all rows; None if the loader was not asked for any, or has no dataset."""

    @property
    def count(self) -> int:
        """Number of datasets."""
        return len(self._opened)

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return sum(one.n_obs for one in self._opened)

    @property
    def n_vars(self) -> int:
        """Number of columns."""
        if not self._opened:
            raise ValueError("`n_vars` is known once a dataset has been added; got none yet.")
        if not self._prefixes():
            raise ValueError(f"`n_vars` is known where `keys` have X or a layer, got {list(self._selection.keys)}.")
        return sum(self.variables(prefix).count for prefix in self._prefixes())

    @property
    def var(self) -> pd.DataFrame | None:
        """Annotations of the columns of a batch."""
        return self.variables("").var if "" in self._prefixes() else None

    @property
    def modality_vars(self) -> dict[str, pd.DataFrame | None]:
        """Annotations of the columns of each modality."""
        return {prefix: self.variables(prefix).var for prefix in self._prefixes() if prefix}

    @property
    def first_type(self) -> type:
        """Type of the first matrix that was added."""
        if not self._opened:
            raise ValueError("`dataset_type` is known once a dataset has been added; got none yet.")
        return self._opened[0].kind

    @property
    def starts(self) -> np.ndarray:
        """``(n_datasets + 1,)`` first global row of each dataset, and the total."""
        return np.concatenate([[0], np.cumsum([one.n_obs for one in self._opened])]).astype(np.int64)

    # Adding -----------------------------------------------------------------------------------------------------------

    def add_all(self, datasets: Iterable[Dataset]) -> None:
        """Add datasets; none is added if one is refused.

        Raises
        ------
        KeyError
            If a dataset lacks a requested element.
        TypeError
            If an element cannot be read by rows.
        ValueError
            If datasets do not fit each other.
        """
        before, place = self._opened, ""
        self._opened = list(before)
        try:
            for dataset in datasets:
                place = dataset.place
                opened = self._open(dataset)
                self._check_alike(opened)
                self._opened.append(opened)
            tables, frames = self._join_tables(), [one.obs for one in self._opened]
            labels = Labels.of(self._selection.labels, frames, self._form.adapter)
        except BaseException as error:
            self._opened = before
            if place not in str(error):
                error.add_note(f"While adding {place}.")
            raise
        self._tables, self.labels = tables, labels
        self._variables = {}
        self._frames = self._encoded = None

    def _open(self, dataset: Dataset) -> _Opened:
        elements: dict[str, RowSource | ObsFrame] = {}
        for key in self._keys_in(dataset):
            prefix, rest = split_key(key)
            part = dataset.parts[prefix]
            element = part.open(rest)
            n_rows = element.shape[0] if isinstance(element, CsrSource | DenseSource) else element.n_rows
            if n_rows != part.n_obs:
                raise ValueError(
                    f"`{key}` of {self._place(part)} must have the {part.n_obs} rows of obs, got {n_rows}."
                )
            elements[key] = element
        var: dict[str, pd.DataFrame | None] = {}
        for key in elements:
            prefix, _ = split_key(key)
            if not has_var_axis(key):
                continue
            part = dataset.parts[prefix]
            if prefix not in var:
                var[prefix] = part.var
            frame, shape = var[prefix], _shape(elements[key])
            is_free = len(shape) > 2 and self._selection.takes_every_column  # such arrays, of images, have no columns
            if frame is not None and len(shape) > 1 and len(frame) != shape[1] and not is_free:
                place, rule = self._place(part), f"one row per column of `{key}` ({shape[1]})"
                raise ValueError(f"`var` of {place} must have {rule}, got {len(frame)}.")
        main = dataset.parts[dataset.modalities[0] if dataset.modalities else ""]
        kind = main.kind if not self._opened else self._opened[0].kind  # looking it up may take a request
        obs = elements.get("obs")
        is_read = bool(self._selection.labels or self._selection.sampled_columns)
        if is_read and obs is None and "" in dataset.parts and dataset.parts[""].has("obs"):
            obs = dataset.parts[""].open("obs")
        assert not isinstance(obs, CsrSource | DenseSource)
        graph = None if self._selection.neighbors is None else self._selection.neighbors.open(dataset)
        return _Opened(dataset.n_obs, kind, dataset.modalities, dataset.rows, elements, var, obs, graph)

    def _place(self, part: Container) -> str:
        return part.place or f"dataset {self.count}"

    def _keys_in(self, dataset: Dataset) -> list[str]:
        """Return the requested elements to open in a dataset; X and layers of a MuData are its modalities'."""
        found = []
        for key in self._selection.keys_read:
            keys = [key]
            if dataset.modalities and has_var_axis(key) and not split_key(key)[0]:
                keys = [prefix + key for prefix in dataset.modalities if dataset.parts[prefix].has(key)]
            for each in keys:
                prefix, rest = split_key(each)
                if prefix in dataset.parts and dataset.parts[prefix].has(rest):
                    found.append(each)
                elif each != "obs" and (prefix in dataset.parts or not dataset.modalities):
                    raise self._unknown(each, dataset)
            if not keys:
                raise self._unknown(key, dataset)
        return found

    def _unknown(self, key: str, dataset: Dataset) -> KeyError:
        there, name = dataset.elements(), "keys" if self._selection.yields(key) else "encoder_key"
        mean = did_you_mean([key], there)
        return KeyError(f"`{name}` must be elements of the data, got {key!r}{mean}; dataset {self.count} has {there}.")

    def _check_alike(self, new: _Opened) -> None:
        number = self.count
        if not number:
            return
        joined = self._selection.var_join != "exact"
        for key, element in new.elements.items():
            if isinstance(element, CsrSource | DenseSource):
                self.matrix_sources(key).check_another(element, number, joined=joined and has_var_axis(key))
            elif any(_shape(one.elements[key]) for one in self._opened if key in one.elements):
                raise ValueError(f"`{key}` must be a matrix in all datasets, got a data frame in dataset {number}.")
        first = self._opened[0]
        if "obs" in self._selection.keys:
            _check_both("obs", "obs" in first.elements, "obs" in new.elements, number)
        for prefix, var in new.var.items():
            one = next((opened.var[prefix] for opened in self._opened if prefix in opened.var), var)
            _check_both("var", one is not None, var is not None, number)
            if one is not None and var is not None and not joined:
                check_same_var(one, var, number)

    # Batches ----------------------------------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Return the keys of all elements of a batch, in the order in which they were requested."""
        found = dict.fromkeys(key for one in self._opened for key in one.elements)
        missing = [key for key in self._selection.keys if split_key(key)[0] and key not in found]
        if missing and self._opened:
            there = sorted({prefix.strip("/") for one in self._opened for prefix in one.modalities})
            mean = did_you_mean(missing, there)
            raise KeyError(f"`keys` must be elements of the data, got {missing}{mean}; the datasets have {there}.")
        order = {key: number for number, key in enumerate(self._selection.keys)}
        return sorted(found, key=lambda key: order.get(key, order.get(split_key(key)[1], 0)))

    def matrix_keys(self) -> list[str]:
        """Return the keys of the elements that are no data frames."""
        return [key for key in self.keys() if key not in self._tables]

    def elements(self) -> dict[str, Element]:
        """Return the matrices that batches hold; see :meth:`MatrixSources.element` for the errors it raises."""
        return {key: self._element(key) for key in self.matrix_keys() if self._selection.yields(key)}

    def encoded(self) -> EncodedElement | None:
        """Return the matrix that is encoded, with its tokens; None without an encoder."""
        encoding = self._selection.encoding
        if encoding is not None and self._encoded is None:
            sources, is_wanted = self.matrix_sources(encoding.key), self._selection.yields(encoding.key)
            self._encoded = encoded_element(encoding, sources, self.variables, self._form, is_wanted=is_wanted)
        return self._encoded

    def _element(self, key: str) -> Element:
        if has_var_axis(key):
            return self.matrix_sources(key).element(self.variables(split_key(key)[0]), self._form)
        return self.matrix_sources(key).element(None, self._form.as_stored())

    def measured(self, key: str, *, by_group: bool = False) -> MeasuredCsr | MeasuredElement:
        """Return a matrix whose columns and rows are added up, and not yielded."""
        known = self.matrix_keys()
        if key not in known:
            mean = did_you_mean([key], known)
            raise KeyError(f"`key` must be a matrix that the loader reads, got {key!r}{mean}; its `keys` have {known}.")
        variables = self.variables(split_key(key)[0]) if has_var_axis(key) else None
        return self.matrix_sources(key).measured(variables, self._form, by_group=by_group)

    def matrix_sources(self, key: str) -> MatrixSources:
        """Return one matrix of all datasets that have it."""
        sources: dict[int, RowSource] = {}
        for number, one in enumerate(self._opened):
            element = one.elements.get(key)
            if isinstance(element, CsrSource | DenseSource):
                sources[number] = element
            elif element is not None:
                raise ValueError(f"`{key}` must be a matrix in all datasets, got a data frame in dataset {number}.")
        return MatrixSources(key, sources)

    def sources(self) -> list[RowSource]:
        """Return all matrices of all datasets."""
        every = (element for one in self._opened for element in one.elements.values())
        return [element for element in every if isinstance(element, CsrSource | DenseSource)]

    def presence(self, key: str) -> Presence | None:
        """Return the rows that an element's modality has; None if it has all."""
        prefix, _ = split_key(key)
        if not prefix:
            return None
        return Presence(
            tuple(one.rows[prefix] if key in one.elements else None for one in self._opened),
        )

    def variables(self, prefix: str) -> Variables:
        """Return the columns of a batch over all datasets."""
        if prefix not in self._variables:
            have = [one for one in self._opened if prefix in one.var]
            names = self._names_of(prefix)
            joined = join_variables(
                [one.var[prefix] for one in have],
                [self._width(one, prefix) for one in have],
                names=names,
                join=self._selection.var_join,
            )
            self._variables[prefix] = joined.spread([prefix in one.var for one in self._opened])
        return self._variables[prefix]

    def _names_of(self, prefix: str) -> list[str] | None:
        names = self._selection.var_names
        if names is None:
            return None
        if isinstance(names, str) or isinstance(names, Mapping) != bool(prefix):
            kind = "a dict of lists by modality" if prefix else "a list of names"
            raise ValueError(f"`var_names` must be {kind} for such data, got {type(names).__name__}.")
        if isinstance(names, Mapping):
            chosen = names.get(prefix.split("/")[1])
            return None if chosen is None else list(chosen)
        return list(names)

    @staticmethod
    def _width(one: _Opened, prefix: str) -> int:
        shape = next(
            _shape(one.elements[key]) for key in one.elements if has_var_axis(key) and split_key(key)[0] == prefix
        )
        return shape[1] if len(shape) > 1 else 1

    def _prefixes(self) -> list[str]:
        return list(dict.fromkeys(prefix for one in self._opened for prefix in one.var))

    def _join_tables(self) -> dict[str, ObsTable]:
        """Join the data frames among the elements over all datasets."""
        tables = {}
        for key in dict.fromkeys(key for one in self._opened for key in one.elements):
            frames = [one.elements.get(key) for one in self._opened]
            if any(frame is not None and not _shape(frame) for frame in frames):
                columns = self._selection.obs_columns if key == "obs" else None
                tables[key] = ObsTable(
                    frames,  # type: ignore[arg-type]  # those without a shape are frames; checked above
                    columns,
                    join=self._selection.obs_join,
                    partial=bool(split_key(key)[0]),
                    key=key,
                )
        return tables

    def neighbors(self) -> NeighborGraph | None:
        """Return the graph of all rows; None if the loader was asked for none."""
        graphs = [one.graph for one in self._opened if one.graph is not None]
        request = self._selection.neighbors
        return None if request is None else NeighborGraph(request, graphs, self.starts)

    def tables(self) -> dict[str, ObsTable]:
        """Return the data frames of all rows, by key."""
        return self._tables

    def obs(self) -> ObsTable | None:
        """Return the annotations of all rows, or None."""
        return self._tables.get("obs")

    def obs_columns(self, names: list[str]) -> pd.DataFrame:
        """Return columns of ``obs`` of all rows, whichever columns batches have."""
        frames, join = [one.obs for one in self._opened], self._selection.obs_join
        every = set.union if join == "outer" else set.intersection
        there = every(*(set() if frame is None else {*frame.columns} for frame in frames))
        if unknown := [name for name in names if name not in there]:
            raise unknown_names("groups", "columns of obs, as all that a sampler reads", unknown, there)
        shares = rows_by_dataset(np.arange(self.n_obs), self.starts)
        return ObsTable(frames, names, join=join).frame(shares, self.n_obs).frame

    def obs_frames(self) -> list[pd.DataFrame] | None:
        """Return the whole annotations of the rows of each dataset, as batches have them, or None."""
        table = self.obs()
        if table is not None and self._frames is None:
            rows = (rows_by_dataset(np.arange(*ends), self.starts) for ends in itertools.pairwise(self.starts))
            self._frames = [
                table.frame(shares, one.n_obs).frame for shares, one in zip(rows, self._opened, strict=True)
            ]
        return self._frames

    def categories(self) -> dict[str, pd.Index]:
        """Return the categories of every categorical column: of obs by name, of others by key and name."""
        return {
            name if key == "obs" else f"{key}/{name}": index
            for key, table in self._tables.items()
            for name, index in table.categories().items()
        }


def _shape(element: RowSource | ObsFrame) -> tuple[int, ...]:
    """Return the shape of a matrix; of a data frame, ()."""
    return element.shape if isinstance(element, CsrSource | DenseSource) else ()


def _check_both(name: str, had: bool, has: bool, number: int) -> None:
    if had != has:
        one, other = ("with", "without") if had else ("without", "with")
        raise ValueError(f"`{name}` must be given for all datasets or for none: dataset 0 is {one}, {number} {other}.")
