"""The part of a collection that attaches stores; what is attached is read, and never changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h5py
import zarr
from zarr.storage import LocalStore

from ..._anndata.frames import stored_frame
from ..._format.attributes import refuse_unfinished
from ..._remote.urls import is_url, without_secrets
from ...errors import reading
from .._state.attached import ATTACHED, Reference, write_references
from .._state.location import Location

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._inputs.open import Source


class AttachesStores:
    """The part of a collection that attaches stores, and refuses to change what is attached."""

    _location: Location
    _mode: str
    _h5ad: Path | None

    @property
    def is_attached(self) -> bool:
        """Whether the collection refers to stores that were attached, so that its rows are not shuffled."""
        return self._h5ad is None and bool(self._location.attached)

    def attach(self, paths: Iterable[Source]) -> Self:
        """Make a collection of existing stores without a copy: it refers to them, and reads them where they are.

        Each store is a dataset. **Rows are not shuffled**: read them in small chunks (``chunk_size``), and look at
        :func:`annbatch.diversity`. Where stores differ in variables or columns of ``obs``, the loader joins them
        (``var_join``, ``obs_join``). A store that changes later is an error when it is read.

        Parameters
        ----------
        paths
            h5ad files, zarr stores, URLs of zarr stores (without credentials: the collection would keep them), or open
            groups of local ones. Other collections, too, with all their datasets.

        Returns
        -------
        DatasetCollection
            The collection itself.

        Raises
        ------
        FileNotFoundError
            If a store does not exist.
        ValueError
            If the collection is not in a local folder, has datasets already, or a store is named twice.
        annbatch.errors.StoreError
            If a store is not an AnnData object.

        Examples
        --------
        >>> import anndata, numpy
        >>> from annbatch import DatasetCollection
        >>> for name in ("one", "two"):
        ...     anndata.AnnData(numpy.eye(3)).write_h5ad(f"{name}.h5ad")
        >>> DatasetCollection("both.zarr").attach(["one.h5ad", "two.h5ad"])
        DatasetCollection at both.zarr, 6 rows x 3 variables in 2 attached stores
        """
        location = self._location
        self._check_writable()
        if self._h5ad is not None or location.folder is None:
            got = f"{location}, {'a folder of h5ad files' if self._h5ad is not None else 'no local folder'}"
            raise ValueError(f"Stores are attached to a new collection, a local folder of its own; got {got}.")
        if location.is_collection:
            raise ValueError(f"{location} has datasets already: attach it, with the other stores, to a new collection.")
        location.refuse_other_contents()
        from .._inputs.open import as_sources

        references: dict[str, Reference] = {}
        for source in as_sources(paths, name="paths"):
            for found in _references_of(source):
                real = os.path.realpath(str(found))
                if real in references:
                    raise ValueError(f"`paths` must name each store once, got {found} twice.")
                references[real] = _checked(found.recorded())
        write_references(location.folder, list(references.values()))
        return self

    def _check_writable(self) -> None:
        if self._mode == "r":
            raise ValueError(f"{self._location} was opened with `mode` 'r', which is read-only.")
        if self.is_attached:
            raise ValueError(
                f"{self._location} refers to stores that were attached, which are only read. Make a shuffled "
                "collection of them, `DatasetCollection(new_path).add_adatas(list(collection))`; to attach others, "
                f"remove {ATTACHED} in it first."
            )


def _references_of(source: Source) -> list[Reference]:
    """Return the AnnData stores that an input holds: several if it is a collection."""
    if isinstance(source, h5py.Group):
        return [Reference(str(Path(source.file.filename).absolute()), str(source.name).strip("/"))]
    if isinstance(source, zarr.Group):
        if not isinstance(source.store, LocalStore):
            from .._inputs.open import name_of

            raise ValueError(f"`paths` must name stores elsewhere by their URLs, got the group {name_of(source)}.")
        return [Reference(str(Path(source.store.root).absolute()), source.path)]
    place = os.fspath(source)
    if is_url(place):
        if without_secrets(place) != place.rstrip("/"):
            shown = without_secrets(place)
            raise ValueError(f"`paths` must not have credentials in URLs, as these are kept on disk; got {shown}.")
        place = place.rstrip("/")
    else:
        place = str(Path(place).absolute())
    if is_url(place) or Path(place).is_dir():
        location = Location(place, "a")
        if location.attached:
            return location.attached
        if names := location.dataset_names():
            return [Reference(place, name) for name in names]
    return [Reference(place, "")]


def _checked(reference: Reference) -> Reference:
    """Raise :class:`StoreError` unless a store has the tables of an AnnData; return it."""
    group: Any = reference.open()
    refuse_unfinished(group)
    with reading(str(reference)):
        stored_frame(group["obs"])
        stored_frame(group["var"])
    return reference
