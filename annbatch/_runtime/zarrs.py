"""Arrays written through zarrs or through zarr, whatever ``zarr.config`` says, which does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._warn import ignore_warnings
from .threads import claim_threads

if TYPE_CHECKING:
    import zarr


def through_zarrs(array: zarr.Array[Any]) -> zarr.Array[Any] | None:
    """Return a second handle on ``array`` that encodes and decodes through zarrs, independent of ``zarr.config``.

    zarr chooses the codec pipeline from its global configuration when a handle is made; here it is set in a new handle,
    so that neither the user's handles nor their configuration change.

    Returns
    -------
    zarr.Array or None
        None if zarrs does not support the store (memory, fsspec), the byte order or the order of axes, or reads the
        dtype incorrectly.
    """
    import zarr
    from zarrs import ZarrsCodecPipeline

    given = array.async_array
    if array.order != "C":  # zarrs 0.2.3 writes to C-contiguous memory only, and zarr gives it memory in this order
        return None
    # zarrs 0.2.3 swaps real and imaginary parts of big-endian values when it decodes part of a chunk
    if not array.dtype.isnative or array.dtype.kind == "c":
        return None
    claim_threads("zarrs")
    own = type(given)(given.metadata, given.store_path, given.config)
    # zarrs warns when it leaves an array to zarr's own pipeline, as it does without help; and obstore, that zarrs opens
    # another client, with its own connections, for an object store.
    with ignore_warnings(""):
        try:
            pipeline = ZarrsCodecPipeline.from_array_metadata_and_store(given.metadata, given.store_path.store)
        except NotImplementedError:  # by the store
            return None
    object.__setattr__(own, "codec_pipeline", pipeline)  # the dataclass is frozen
    return zarr.Array(own)


def through_zarr(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return a handle on ``array`` that encodes and decodes through zarr itself, independent of ``zarr.config``.

    zarrs 0.2.3, which users choose for all arrays in their configuration, writes no chunk that holds the fill value
    alone, whatever ``write_empty_chunks`` says.
    """
    import zarr
    from zarr.core.codec_pipeline import BatchedCodecPipeline

    given = array.async_array
    own = type(given)(given.metadata, given.store_path, given.config)
    object.__setattr__(own, "codec_pipeline", BatchedCodecPipeline.from_codecs(given.metadata.codecs))
    return zarr.Array(own)
