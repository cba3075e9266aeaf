"""Short last batches, filled up to the size of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._plan.ranges import concatenated_ranges

if TYPE_CHECKING:
    from ..types import LoadRequest


def filled_up(request: LoadRequest, size: int, *, rows_per_set: int, first: LoadRequest | None) -> LoadRequest:
    """Return a request whose last batch has ``size`` rows, partners and extras in proportion.

    Parameters
    ----------
    request
        Request whose last batch is short.
    size
        Rows per batch.
    rows_per_set
        Rows that stay together.
    first
        First request of the epoch, with whose first batch the last one goes on; None: its last set is repeated.
    """
    n_sets = len(request["splits"][-1]) // rows_per_set
    lacking = size // rows_per_set - n_sets
    if first is None:
        return _with_sets(request, np.append(np.arange(n_sets), np.repeat(n_sets - 1, lacking)), n_sets)
    n_first = len(first["splits"][0]) // rows_per_set
    more = np.arange(lacking) % n_first
    return _with_sets(_joined(request, first), np.append(np.arange(n_sets), n_sets + more), n_sets + n_first)


def _joined(request: LoadRequest, first: LoadRequest) -> LoadRequest:
    """Return a request whose last batch goes on with the first batch of another request."""
    rows = _rows_of(request)
    made: LoadRequest = {**request, "requests": np.append(rows, _rows_of(first))}
    made["splits"] = _longer(request["splits"], first["splits"][0] + len(rows))
    if "partners" in request:
        shifted = {name: splits[0] + len(rows) for name, splits in first["partners"].items()}
        made["partners"] = {name: _longer(splits, shifted[name]) for name, splits in request["partners"].items()}
    if "extras" in request:
        made["extras"] = {name: _longer(arrays, first["extras"][name][0]) for name, arrays in request["extras"].items()}
    return made


def _longer(arrays: list[np.ndarray], more: np.ndarray) -> list[np.ndarray]:
    return [*arrays[:-1], np.concatenate([arrays[-1], more])]


def _with_sets(request: LoadRequest, chosen: np.ndarray, n_sets: int) -> LoadRequest:
    """Return a request whose last batch, of ``n_sets`` sets, has the chosen ones of them."""

    def of_last(arrays: list[np.ndarray]) -> list[np.ndarray]:
        if len(arrays[-1]) % n_sets:
            raise ValueError(
                "`partners` and `extras` of a short batch must have as many entries for each of its rows or sets, got "
                f"{len(arrays[-1])} for {n_sets}: it cannot be filled up for ranks."
            )
        return [*arrays[:-1], np.concatenate(arrays[-1].reshape(n_sets, -1, *arrays[-1].shape[1:])[chosen])]

    made: LoadRequest = {**request, "splits": of_last(request["splits"])}
    for kind in ("partners", "extras"):
        if kind in request:
            made[kind] = {name: of_last(arrays) for name, arrays in request[kind].items()}
    return made


def _rows_of(request: LoadRequest) -> np.ndarray:
    requests = request["requests"]
    if isinstance(requests, np.ndarray):
        return requests
    return concatenated_ranges([r.start for r in requests], [r.stop - r.start for r in requests])
