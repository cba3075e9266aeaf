"""Attributes that this package adds to zarr arrays and groups; readers that do not know them lose nothing but these."""

from __future__ import annotations

COMPLETE_ATTRIBUTE = "annbatch-complete"
"""On an array: true if every chunk was written, so that a missing chunk is damage and not the fill value."""

DTYPE_ATTRIBUTE = "annbatch-dtype"
"""On an array or CSR group whose values were narrowed for storage: name of their original dtype, e.g. "float32"."""
