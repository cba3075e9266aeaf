"""PyTorch, or the command that installs it."""

from __future__ import annotations

from annbatch.errors import MissingDependencyError


def require_torch() -> None:
    """Raise :class:`annbatch.errors.MissingDependencyError` where PyTorch is not installed."""
    try:
        import torch  # noqa: F401 - only to see whether it imports
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("Adapter 'torch' needs PyTorch: `pip install 'annbatch[torch]'`.") from exc
