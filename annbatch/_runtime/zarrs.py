"""Arrays read and written through zarrs, one handle at a time: nobody's ``zarr.config`` changes."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import zarr


def through_zarrs(array: zarr.Array[Any]) -> zarr.Array[Any] | None:
    """Return a second handle on ``array`` that encodes and decodes through zarrs, whatever ``zarr.config`` says.

    zarr chooses the pipeline from its global configuration when a handle is made; here it is put into one handle of our
    own, so neither the user's handles nor their configuration change. None where zarrs does not know the store (one in
    memory, an fsspec file system) or the byte order, or does not read the dtype rightly.
    """
    import zarr
    from zarrs import ZarrsCodecPipeline

    given = array.async_array
    # zarrs 0.2.3 swaps real and imaginary parts of big-endian values where it decodes part of a chunk
    if not array.dtype.isnative or array.dtype.kind == "c":
        return None
    claim_zarrs()
    own = type(given)(given.metadata, given.store_path, given.config)
    with warnings.catch_warnings():
        # zarrs warns where it leaves an array to zarr's own pipeline, which it then does by itself
        warnings.simplefilter("ignore", UserWarning)
        # obstore warns that zarrs makes a client of its own for an object store, with connections of its own
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            pipeline = ZarrsCodecPipeline.from_array_metadata_and_store(given.metadata, given.store_path.store)
        except NotImplementedError:  # of the store
            return None
    object.__setattr__(own, "codec_pipeline", pipeline)  # the dataclass is frozen
    return zarr.Array(own)


_process: int | None = None  # which has started zarrs' threads


def claim_zarrs() -> None:
    """Raise where zarrs would wait for ever: its threads do not survive a fork, and it does not notice."""
    global _process
    if _process is None:
        _process = os.getpid()
    if _process != os.getpid():
        raise RuntimeError(
            f"zarrs was used in process {_process}, and its threads did not survive the fork into process "
            f"{os.getpid()}: start processes with 'spawn', or read in the child only."
        )
