"""The keys of elements: ``X``, ``layers/counts``, ``mod/rna/X``."""

from __future__ import annotations

MODALITIES = "mod/"


def split_key(key: str) -> tuple[str, str]:
    """Return the prefix of a key that names its modality, if any, and the rest: ``("mod/rna/", "X")``."""
    if not key.startswith(MODALITIES):
        return "", key
    modality, _, rest = key[len(MODALITIES) :].partition("/")
    return f"{MODALITIES}{modality}/", rest


def path_of(key: str) -> tuple[str, ...]:
    """Return the keys of the nested dicts of a batch that lead to an element, outermost first."""
    prefix, rest = split_key(key)
    attribute, _, name = rest.partition("/")
    return (*prefix.split("/")[:-1], attribute, *([name] if name else []))


def has_var_axis(key: str) -> bool:
    """Return whether an element's columns are those of ``var``: true of X and layers only."""
    return split_key(key)[1].partition("/")[0] in ("X", "layers")
