"""Find adapters by name; the three that are shipped use the same entry points as any other."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from .._arguments import did_you_mean, flag
from ..abc import Adapter

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "annbatch.adapters"
"""The entry-point group whose members are callables that take ``device`` and return an adapter."""

ON_GPU = "gpu"
"""The adapter that puts batches on the GPU where no framework is named."""


def find_adapter(to: str | Adapter | None, device: object, *, on_gpu: bool = False) -> Adapter | None:
    """Return the adapter that ``Loader(to=..., device=..., preload_to_gpu=...)`` asks for.

    Parameters
    ----------
    to
        The name of an installed adapter, an adapter, or None.
    device
        Device that is passed to the adapter; must be None unless ``to`` is a name.
    on_gpu
        Whether to use the accelerator of the adapter where ``device`` is None.

    Returns
    -------
    annbatch.abc.Adapter or None
        None where ``to`` is None: batches stay NumPy arrays and SciPy matrices.

    Raises
    ------
    ValueError
        If no adapter of that name is installed or more than one is, or ``device`` is given without a name.
    TypeError
        If ``to`` is something else, or the entry point returns something that is not an adapter.
    annbatch.errors.MissingDependencyError
        If the adapter's framework is not installed.
    """
    if flag(on_gpu, "preload_to_gpu") and to is None:
        to = ON_GPU
    if isinstance(to, str):
        return _make(_entry_point(to), device, on_gpu=on_gpu)
    if to is not None and not isinstance(to, Adapter):
        raise TypeError(f"`to` must be None, the name of an adapter or an annbatch.abc.Adapter, got {to!r}.")
    if device is not None:
        reason = "where `to` is None" if to is None else "where `to` is an adapter, which was made with its own"
        raise ValueError(f"`device` must be None {reason}, got {device!r}.")
    return to


def _entry_point(name: str) -> EntryPoint:
    installed = entry_points(group=GROUP)
    # One value may be listed twice: by an editable install and a copy of its metadata.
    named = {entry_point.value: entry_point for entry_point in installed if entry_point.name == name}
    if not named:
        names = ", ".join(sorted({repr(entry_point.name) for entry_point in installed}))
        mean = did_you_mean([name], {entry_point.name for entry_point in installed})
        raise ValueError(
            f"`to` must be None, an adapter or the name of an installed one ({names}), got {name!r}{mean}."
        )
    if len(named) > 1:
        raise ValueError(
            f"`to` must name one adapter, got {name!r}, of which there are several: {', '.join(sorted(named))}."
        )
    return named.popitem()[1]


def _make(entry_point: EntryPoint, device: object, *, on_gpu: bool) -> Adapter:
    make = entry_point.load()
    if on_gpu and device is None:
        device = getattr(make, "accelerator", None)
    adapter = make(device=device)
    if not isinstance(adapter, Adapter):
        raise TypeError(
            f"Entry point {entry_point.name!r} = {entry_point.value!r} must make an Adapter, got {adapter!r}."
        )
    return adapter
