"""The keys of elements: ``X``, ``layers/counts``, ``mod/rna/X``."""

from __future__ import annotations

MODALITIES = "mod/"


def split_key(key: str) -> tuple[str, str]:
    """Return the beginning of a key that names the modality, if any, and the rest: ``("mod/rna/", "X")``."""
    if not key.startswith(MODALITIES):
        return "", key
    place, _, rest = key[len(MODALITIES) :].partition("/")
    return f"{MODALITIES}{place}/", rest


def path_of(key: str) -> tuple[str, ...]:
    """Return the names under which a batch holds an element, outermost first."""
    prefix, rest = split_key(key)
    place, _, name = rest.partition("/")
    return (*prefix.split("/")[:-1], place, *([name] if name else []))


def has_var_axis(key: str) -> bool:
    """Return whether an element's columns are those of ``var``: true of X and layers only."""
    return split_key(key)[1].partition("/")[0] in ("X", "layers")
