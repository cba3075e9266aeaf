"""Plots of results, with matplotlib, which is imported when something is plotted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._display import shown
from .errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes


def axes_for(ax: Axes | None, *, rows: int = 6) -> Axes:
    """Return the axes to plot on: those given, or those of a new figure with room for so many rows of bars.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If matplotlib is not installed.
    """
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("Plots need matplotlib: `pip install matplotlib`.") from exc
    return plt.subplots(figsize=(6, 1.2 + 0.28 * max(rows, 4)), layout="constrained")[1]


def label(name: Any) -> str:
    r"""Return a name as matplotlib shows it unchanged: names of stores are no formulas.

    >>> print(label("IL-2 $x$"))
    IL-2 \$x\$
    """
    return shown(name).replace("$", r"\$")


def bars(
    ax: Axes | None,
    lengths: Mapping[str, float],
    *,
    title: str,
    unit: str,
    form: str = "{:,.0f}",
    reference: float | None = None,
) -> Axes:
    """Plot a horizontal bar per name, the first on top, with its number next to it.

    Parameters
    ----------
    ax
        Axes to plot on; None for new ones.
    lengths
        Length of each bar.
    title, unit
        Text above, and below.
    form
        Format of the numbers.
    reference
        Where a dashed line marks what is aimed at.
    """
    ax = axes_for(ax, rows=len(lengths))
    container = ax.barh(range(len(lengths)), list(lengths.values()), color="C0")
    ax.bar_label(container, labels=[form.format(length) for length in lengths.values()], padding=3)
    ax.set_yticks(range(len(lengths)), [label(name) for name in lengths])
    ax.invert_yaxis()
    ax.margins(x=0.15)
    if reference is not None:
        ax.axvline(reference, color="C1", linestyle="--")
    ax.set_xlabel(unit)
    ax.set_title(label(title))
    return ax
