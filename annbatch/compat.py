"""Classes of array frameworks by the names that scverse annbatch gives them, imported when they are asked for."""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "CupyArray": ("cupy", "ndarray"),
    "CupyCSRMatrix": ("cupyx.scipy.sparse", "csr_matrix"),
    "IterableDataset": ("torch.utils.data", "IterableDataset"),
    "JAXCSRMatrix": ("jax.experimental.sparse", "CSR"),
    "JaxArray": ("jax", "Array"),
    "Tensor": ("torch", "Tensor"),
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> type:
    """Return a class of a framework; where that is not installed, one that nothing is an instance of."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, of = _HOMES[name]
    try:
        found: type = getattr(import_module(module), of)
    except ImportError:
        found = type(of, (), {"__module__": module})
    globals()[name] = found
    return found
