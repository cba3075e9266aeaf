"""What a collection shows of itself; reads metadata, and a few names of categories, and no column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._anndata.frames import stored_frame
from ..._display import Section, Shown, Summary, counted, listed_categories
from ..._format.attributes import DTYPE_ATTRIBUTE, encoding_of, sparse_shape
from ..._plot import bars
from .read_back import table_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

    from .._state.location import Location

_MOST_BARS = 30

_FEW = 50
"""Categories of a column whose names are read: those of more take long to read, and are not looked at."""


class DescribesItself(Shown):
    """The part of a collection that shows what it holds."""

    _location: Location
    _h5ad: Path | None

    if TYPE_CHECKING:

        def __len__(self) -> int: ...

        def obs(self, columns: str | list[str] | None = None) -> pd.DataFrame: ...

        @property
        def n_obs(self) -> int: ...

        @property
        def n_vars(self) -> int: ...

        @property
        def is_empty(self) -> bool: ...

        @property
        def is_attached(self) -> bool: ...

    def __repr__(self) -> str:
        if self.is_empty:
            return f"DatasetCollection at {self._location}, empty"
        if self._h5ad is not None:
            return f"DatasetCollection at {self._location}, {self.n_obs:,} rows in {counted(len(self), 'h5ad file')}"
        shape = f"{self.n_obs:,} rows x {self.n_vars:,} variables"
        datasets = counted(len(self), "attached store" if self.is_attached else "dataset")
        return f"DatasetCollection at {self._location}, {shape} in {datasets}"

    def _summary(self) -> Summary:
        if self.is_empty or self._h5ad is not None:
            return Summary(repr(self), [])
        groups = self._location.datasets()
        first = groups[0]
        return Summary(
            repr(self),
            [
                Section.of("Order of rows", lambda: [(self._order(),)], opened=True),
                Section.of("Elements", lambda: elements_in(first), opened=True),
                Section.of("Columns of obs", lambda: _columns(first, "obs"), opened=True),
                Section.of("Columns of var", lambda: _columns(first, "var")),
                Section.of("Sources", self._sources),
                Section.of(
                    "Datasets",
                    lambda: [(one.name.strip("/"), f"{stored_frame(one['obs']).n_rows:,} rows") for one in groups],
                ),
            ],
        )

    def plot(self, column: str, ax: Axes | None = None) -> Axes:
        """Plot the number of rows of each kind in a column of ``obs``; of more than 30 kinds, the most frequent.

        Draws on ``ax``, or on a new figure of matplotlib, and returns the axes. A column that no dataset has is a
        ``KeyError``.
        """
        counts = self.obs(column)[column].value_counts(dropna=False)
        found = {str(kind): int(count) for kind, count in counts.head(_MOST_BARS).items()}
        if len(counts) > _MOST_BARS:
            found[f"{len(counts) - _MOST_BARS:,} others"] = int(counts.iloc[_MOST_BARS:].sum())
        return bars(ax, found, title=f"{column} of {len(counts):,} kinds", unit="rows")

    @property
    def is_shuffled(self) -> bool | None:
        """Whether all rows are in one random order, so that any range of them is a random sample; None if unknown."""
        calls, known = self._calls(), self._location.manifest().datasets
        if self.is_attached or len(calls) > 1:
            return False
        if not calls:
            return None
        of_one_call = all("n_obs" in known.get(name, ()) for name in self._location.dataset_names())
        return of_one_call and calls[0].get("seed") is not None and not calls[0].get("groupby")

    def _calls(self) -> list[dict[str, Any]]:
        """Return the calls that made the present order of the rows, as the manifest has them."""
        history = self._location.manifest().since_overwritten() if not self.is_attached else []
        since = max((at for at, entry in enumerate(history) if entry.get("call") == "reshuffle"), default=0)
        return history[since:]

    def _order(self) -> str:
        if self.is_attached:
            return "not shuffled: attached stores, each in its own order"
        calls = self._calls()
        if not calls:
            return "unknown: another program wrote the collection"
        if any(entry.get("seed") is None for entry in calls):
            return "not shuffled, or not all of it: `reshuffle` does that"
        if len(calls) == 1 and calls[0].get("groupby"):
            return f"shuffled within each group of {', '.join(map(str, calls[0]['groupby']))}"
        return "shuffled" if len(calls) == 1 else f"shuffled within each of {len(calls)} calls, not across them"

    def _sources(self) -> Iterator[tuple[str, ...]]:
        if self.is_attached:
            yield from ((str(one),) for one in self._location.attached)
        for entry in self._location.manifest().since_overwritten() if not self.is_attached else ():
            for name in entry.get("inputs", ()):
                yield (str(name),)


def elements_in(group: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, encoding, shape and dtype of each matrix of a stored AnnData."""
    # A web server lists nothing: only X is known.
    can_list = getattr(group, "store", None) is None or group.store.supports_listing
    kinds = [kind for kind in ("layers", "obsm") if can_list and kind in group]
    for key in ("X", *(f"{kind}/{name}" for kind in kinds for name in sorted(group[kind]))):
        if key not in group:
            continue
        element = group[key]
        encoding = encoding_of(element) or "array"
        is_sparse = encoding in ("csr_matrix", "csc_matrix")
        stored = str(getattr(element["data"] if is_sparse else element, "dtype", ""))  # a table has none
        dtype = str(element.attrs.get(DTYPE_ATTRIBUTE, stored))
        shape = sparse_shape(element) if is_sparse else getattr(element, "shape", ())
        yield (
            key,
            encoding,
            " x ".join(f"{n:,}" for n in shape),
            dtype + (f", stored as {stored}" if dtype != stored else ""),
        )


def _columns(group: Any, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, kind and a few categories of each column."""
    table = table_in(group, name)
    for column in stored_frame(table).columns:
        stored = table[column]
        encoding = encoding_of(stored)
        if encoding == "categorical":
            count = int(stored["categories"].shape[0])
            names = stored_names(stored["categories"]) if count <= _FEW else []
            yield column, "categorical", listed_categories(names[:5], count)
        else:
            yield column, str(getattr(stored, "dtype", encoding)), ""


def stored_names(categories: Any) -> list[Any]:
    """Return the categories of a column."""
    from ..._anndata.columns import read_element

    return list(read_element(categories))
