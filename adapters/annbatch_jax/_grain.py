"""The rows of a loader as a data source of Grain, which need not be installed."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from annbatch.batch import split_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annbatch import Loader


def grain_source(loader: Loader) -> RowSource:
    """Return the rows of a loader as a ``grain.RandomAccessDataSource``, for Grain's samplers and transformations.

    Grain decides the order, and the loader's own sampler has no effect. A record is one row: dense, so that Grain can
    stack them. To read a batch at once, which is far faster, batch row numbers and let :meth:`annbatch.Loader.take`
    read them, as below: batches then have the loader's own form, sparse ones too.

    Parameters
    ----------
    loader
        Any loader. With ``obs_as="arrays"``, categories are codes; by default, they are text, which JAX does not take.

    Returns
    -------
    grain.RandomAccessDataSource
        Has ``len``, ``source[i]`` (a dict like a batch, of arrays without their first axis and of one value per column
        of ``obs``), and ``__getitems__``, which returns a list of such dicts, read at once. It can be pickled, and used
        by many threads. The attribute ``loader`` is the loader itself.

    Examples
    --------
    ::

        source = grain_source(Loader(obs_as="arrays").use_collection(collection))
        records = grain.MapDataset.source(source).shuffle(seed=0).batch(64)

        rows = grain.MapDataset.range(len(source)).shuffle(seed=0).batch(4096)
        batches = rows.map(source.loader.take)
    """
    return RowSource(loader)


class RowSource:
    """The rows of a loader by number."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return self.loader.n_obs

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = operator.index(index)
        if not 0 <= number < len(self):
            raise IndexError(f"`index` must be one of the loader's rows, 0..{len(self) - 1}, got {number}.")
        return self.__getitems__([number])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several rows, read together."""
        return split_rows(self.loader.take(indices), len(indices), _dense)

    _getitems = __getitems__  # as Grain calls it
    """Read several rows together, for Grain."""

    def __repr__(self) -> str:  # Grain compares it when it resumes
        return f"grain_source({self.loader!r})"


def _dense(value: Any) -> Any:
    if hasattr(value, "toarray"):  # SciPy's
        return value.toarray()
    return value.todense() if hasattr(value, "todense") else value
