"""Batches whose classes follow those of another sampler, batch by batch."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from ._checks import whole
from ._class import ClassSampler, WeightedClassSampler, _class_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._class import _Drawable
    from ._row_set import RowsLike


class BoundClassSampler(ClassSampler):
    """Draws batches of the classes that another sampler draws: batch ``i`` of one matches batch ``i`` of the other.

    For a second loader beside a first, such as one of control cells beside one of perturbed cells. Both samplers have
    seeds of their own; the inner one must have the seed of the sampler that is followed: pass a copy of it.
    :class:`PairedSampler` draws such pairs with one loader, and matches row by row.

    Parameters
    ----------
    inner_sampler
        The :class:`ClassSampler`, or BoundClassSampler, whose classes are followed, as many batches as it has.
    chunk_size
        Consecutive rows of a class per chunk.
    preload_nchunks
        Chunks per window.
    batch_size
        Rows per batch, a multiple of ``chunk_size``.
    classes_to_bind_on
        ``(n_obs,)`` class of each row, matched with the classes of the inner sampler by name.
    on
        Where names are tuples: which positions match, as ``{position in the inner name: position in this one}``.
        Default: the whole names.
    classes
        ``(n_obs,)`` classes within those, of which one is drawn for each batch.
    class_weights
        Weight of each category of ``classes``; those of 0 or less are not drawn. Default: all alike.
    mask
        Rows to sample from.
    rng
        Generator or seed; one integer is drawn from it now, and is the sampler's seed from then on.

    Raises
    ------
    TypeError
        If classes are not a Categorical, or the inner sampler does not draw batches of one class.
    ValueError
        If an argument is out of range, the inner sampler may draw a class that no row has, or rows have a class that
        the inner sampler does not know.

    Examples
    --------
    >>> from copy import copy
    >>> import numpy as np, pandas as pd
    >>> from annbatch.samplers import BoundClassSampler, ClassSampler
    >>> perturbed = pd.Categorical(["A"] * 50 + ["B"] * 50)
    >>> control = pd.Categorical(["B"] * 20 + ["A"] * 20)
    >>> sampler = ClassSampler(5, 2, 10, classes=perturbed, num_samples=60, rng=0)
    >>> bound = BoundClassSampler(
    ...     copy(sampler), 5, 2, 10, classes_to_bind_on=control, rng=1
    ... )
    >>> def lines(sampler, classes):
    ...     requests = sampler.sample(len(classes))
    ...     return [
    ...         classes[part.start]
    ...         for request in requests
    ...         for part in request["requests"][:1]
    ...     ]
    >>> lines(sampler, perturbed) == lines(bound, control)
    True
    """

    def __init__(
        self,
        inner_sampler: ClassSampler,
        chunk_size: int,
        preload_nchunks: int,
        batch_size: int,
        *,
        classes_to_bind_on: pd.Categorical,
        on: Mapping[int, int] | None = None,
        classes: pd.Categorical | None = None,
        class_weights: np.ndarray | None = None,
        mask: RowsLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if not isinstance(inner_sampler, ClassSampler) or isinstance(inner_sampler, WeightedClassSampler):
            name = type(inner_sampler).__name__
            raise TypeError(f"`inner_sampler` must be a ClassSampler or BoundClassSampler, got {name}.")
        if whole(batch_size, "batch_size") % whole(chunk_size, "chunk_size"):
            raise ValueError(f"`batch_size` must be a multiple of chunk_size {chunk_size}, got {batch_size}.")
        if class_weights is not None and classes is None:
            raise ValueError("`class_weights` must be left out where `classes` is None: they weigh its categories.")
        outer = _checked(classes_to_bind_on, "classes_to_bind_on")
        names = _positions(outer.categories, None if on is None else list(on.values()))
        inner_names = _positions(inner_sampler.categories, None if on is None else list(on))
        shared_of_outer, shared = pd.factorize(names)
        of_rows = shared_of_outer[outer.codes]
        self._shared_of_inner = shared.get_indexer(inner_names)
        _check_bound(of_rows, shared, inner_names, self._shared_of_inner[inner_sampler.drawn_codes()])
        if classes is None:
            joint, shared_of_joint, weights = of_rows, np.arange(len(shared)), np.ones(len(shared))
            categories = shared
        else:
            within = _checked(classes, "classes")
            if len(within) != len(outer):
                raise ValueError(f"`classes` must have {len(outer)} entries, as classes_to_bind_on, got {len(within)}.")
            n = len(within.categories)
            joint, there = pd.factorize(of_rows.astype(np.int64) * n + within.codes, sort=True)
            shared_of_joint, weights = there // n, _class_weights(class_weights, n)[there % n]
            pairs = zip(shared[shared_of_joint], within.categories[there % n], strict=True)
            categories = pd.Index([(*_parts(one), *_parts(other)) for one, other in pairs], tupleize_cols=False)
        self._inner = inner_sampler
        self._shared_of_joint = shared_of_joint
        super().__init__(
            chunk_size,
            preload_nchunks,
            batch_size,
            classes=pd.Categorical.from_codes(joint, categories=categories),
            num_samples=inner_sampler.n_batches(0) * batch_size,
            class_weights=weights,
            mask=mask,
            rng=rng,
        )
        self._by_shared()

    def identity(self) -> dict[str, Any]:
        """Return a description that is equal for two samplers if they make the same batches."""
        return super().identity() | {"inner": self._inner.identity()}

    def for_ranks(self, n_ranks: int) -> Self:
        made = copy(super().for_ranks(n_ranks))
        made._inner = self._inner.for_ranks(n_ranks)
        return made

    def _by_shared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the drawable classes in the order of the shared ones, ends of their weights, and first of each."""
        drawn = self.drawn_codes()
        shared = self._shared_of_joint[drawn]
        order = np.argsort(shared, kind="stable")
        codes, shared = drawn[order], shared[order]
        wanted = np.unique(self._shared_of_inner[self._inner.drawn_codes()])
        lacking = wanted[~np.isin(wanted, shared)]
        if len(lacking):
            first = self.categories[np.flatnonzero(self._shared_of_joint == lacking[0])[0]]
            raise ValueError(
                f"`class_weights` and `mask` must leave rows of each class that the inner sampler draws, got none of "
                f"{len(lacking)}, such as that of {first!r}."
            )
        return codes, np.cumsum(self._class_weights[codes]), shared

    def _classes_of_window(
        self, rows: _Drawable, rng: np.random.Generator, epoch: int, window: int, n_rows: int
    ) -> np.ndarray:
        first = window * self._chunk_size * self._preload_nchunks // self._batch_size
        batches = range(first, first + -(-n_rows // self._batch_size))
        shared = self._shared_of_inner[self._inner.codes_of_batches(epoch, batches)]
        codes, ends, of_codes = self._by_shared()
        last = np.searchsorted(of_codes, shared, side="right") - 1
        start = np.searchsorted(of_codes, shared, side="left")
        low = np.where(start > 0, ends[start - 1], 0.0)
        drawn = low + rng.random(len(shared)) * (ends[last] - low)
        found: np.ndarray = codes[np.clip(np.searchsorted(ends, drawn, side="right"), start, last)]
        return found


def _checked(classes: Any, name: str) -> pd.Categorical:
    if not isinstance(classes, pd.Categorical):
        raise TypeError(f"`{name}` must be a pandas.Categorical, got {type(classes).__name__}.")
    if n_missing := int((classes.codes < 0).sum()):
        raise ValueError(f"`{name}` must name a class for every row, got none for {n_missing} rows.")
    return classes


def _parts(name: Any) -> tuple[Any, ...]:
    return name if isinstance(name, tuple) else (name,)


def _positions(names: pd.Index, positions: list[int] | None) -> pd.Index:
    """Return names, or the parts of tuples at some positions."""
    if positions is None:
        return names.to_flat_index()
    try:
        return pd.Index([tuple(name[position] for position in positions) for name in names], tupleize_cols=False)
    except (TypeError, IndexError):
        raise ValueError(f"`on` must give positions in tuples, got {positions} for names as {names[0]!r}.") from None


def _check_bound(of_rows: np.ndarray, shared: pd.Index, inner: pd.Index, drawn: np.ndarray) -> None:
    there = np.unique(of_rows)
    unknown = [shared[code] for code in there if shared[code] not in inner]
    if unknown:
        raise ValueError(f"`classes_to_bind_on` must be classes of the inner sampler, got {unknown[:5]}, too.")
    if len(lacking := np.unique(drawn[~np.isin(drawn, there)])):
        raise ValueError(
            f"`classes_to_bind_on` must have every class that the inner sampler draws, got none of {len(lacking)}."
        )
