"""Functions that programs for scverse annbatch import from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._plan.ranges import split_every

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anndata as ad
    import numpy as np
    import zarr

__all__ = ["check_lt_1", "load_all_aligned", "load_x_and_obs_and_var", "split_given_size"]


def split_given_size(a: np.ndarray, size: int, *, copy: bool = False) -> list[np.ndarray]:
    """Return consecutive parts of ``size`` elements, the last one possibly shorter: views, or copies.

    Examples
    --------
    >>> import numpy as np
    >>> [part.tolist() for part in split_given_size(np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    parts = split_every(a, size)
    return [part.copy() for part in parts] if copy else parts


def check_lt_1(vals: Sequence[int], obs: Sequence[str]) -> None:
    """Raise ``ValueError`` that names the first of several values that is less than one."""
    for value, label in zip(vals, obs, strict=True):
        if value < 1:
            raise ValueError(f"`{label}` must be at least 1, got {value}.")


def load_x_and_obs_and_var(g: zarr.Group) -> ad.AnnData:
    """Return X, backed by its store, with obs and the names of var: a ``load_adata`` for a loader."""
    return _backed(g)


def load_all_aligned(g: zarr.Group) -> ad.AnnData:
    """Return X, obsm and layers, backed by their store, with obs and the names of var: a ``load_adata`` for a loader.

    What a loader cannot read by rows is left out.
    """
    return _backed(g, "obsm", "layers")


def _backed(g: Any, *elements: str) -> ad.AnnData:
    import anndata as ad
    import pandas as pd

    def open_matrix(element: Any) -> Any:
        return element if element.attrs["encoding-type"] == "array" else ad.io.sparse_dataset(element)

    var = g["var"]
    rest = {
        name: {
            key: open_matrix(element)
            for key, element in g[name].members()
            if element.attrs.get("encoding-type") in ("array", "csr_matrix")
        }
        for name in elements
        if name in g
    }
    names = pd.Index(ad.io.read_elem(var[var.attrs["_index"]]))
    return ad.AnnData(open_matrix(g["X"]), obs=ad.io.read_elem(g["obs"]), var=pd.DataFrame(index=names), **rest)
