"""The attributes that this package adds to arrays and groups."""

from __future__ import annotations

COMPLETE_ATTRIBUTE = "annbatch-complete"
"""Attribute of an array of which every chunk was written."""


STORED_DTYPE_ATTRIBUTE = "annbatch-dtype"
"""Attribute of an element that was narrowed for storage: the name of the dtype that it had."""


DTYPE = "annbatch-dtype"
"""The attribute in which a narrowed element remembers the dtype that its values had."""
