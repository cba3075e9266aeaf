"""The model that the demo trains: softmax regression on log-normalised counts, in NumPy or an installed framework."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "annbatch.demo"
"""The entry-point group in which an adapter offers a classifier, under the name that ``Loader(to=...)`` takes."""

COUNTS_PER_CELL = 1e4
LEARNING_RATE = 5e-3


class Classifier(Protocol):
    """What a framework supplies: made as ``Classifier(n_features, n_classes, counts=...)``."""

    def step(self, x: Any, labels: np.ndarray) -> None:
        """Learn from one batch, and return when that is done.

        Parameters
        ----------
        x
            ``(n_rows, n_features)`` float32, dense, an array of the framework.
        labels
            ``(n_rows,)`` int64.
        """

    def predict(self, x: Any) -> np.ndarray:
        """Return ``(n_rows,)`` labels."""


def find_classifier(framework: str | None) -> tuple[str | None, Callable[..., Classifier]]:
    """Return the framework to train in, as ``Loader(to=...)`` takes it, and what makes its classifier.

    Parameters
    ----------
    framework
        ``"numpy"``, the name of an adapter that offers a classifier, or None: the first that is installed.

    Raises
    ------
    ValueError
        If ``framework`` is neither.
    annbatch.errors.MissingDependencyError
        If it was asked for by name and is not installed.
    """
    offered = {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
    if framework is None:
        for name in sorted(offered):
            try:
                return name, offered[name].load()
            except ImportError:  # the adapter comes with annbatch, its framework need not be there
                continue
        return None, NumpyClassifier
    if framework == "numpy":
        return None, NumpyClassifier
    if framework not in offered:
        names = ", ".join(["numpy", *sorted(offered)])
        raise ValueError(f"`framework` must be one of {names}, got {framework!r}.")
    try:
        return framework, offered[framework].load()
    except ImportError as exc:
        command = f"pip install 'annbatch[{framework}]'"
        raise MissingDependencyError(f"`framework` {framework!r} is not installed: `{command}`.") from exc


class NumpyClassifier:
    """The classifier for when no framework is installed; its gradient by hand, its optimiser Adam.

    Kingma and Ba, *Adam: a method for stochastic optimization*, 2015, algorithm 1.

    Parameters
    ----------
    n_features, n_classes
        Columns of ``x``, and how many labels there are.
    counts
        Whether ``x`` is counts, to be normalised, and not something that already was.
    """

    def __init__(self, n_features: int, n_classes: int, *, counts: bool) -> None:
        self._counts = counts
        self._weights = np.zeros((n_features + 1, n_classes), np.float32)  # the last row is the bias
        self._mean = np.zeros_like(self._weights)
        self._square = np.zeros_like(self._weights)
        self._n_steps = 0

    def step(self, x: np.ndarray, labels: np.ndarray) -> None:
        """Learn from one batch."""
        features = self._features(x)
        error = _softmax(features @ self._weights)
        error[np.arange(len(labels)), labels] -= 1
        gradient = features.T @ error / len(labels)
        self._n_steps += 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.001 * (gradient**2 - self._square)
        mean = self._mean / (1 - 0.9**self._n_steps)
        square = self._square / (1 - 0.999**self._n_steps)
        self._weights -= LEARNING_RATE * mean / (np.sqrt(square) + 1e-8)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return ``(n_rows,)`` labels."""
        return np.asarray(np.argmax(self._features(x) @ self._weights, axis=1))

    def _features(self, x: np.ndarray) -> np.ndarray:
        if self._counts:
            x = np.log1p(x * (COUNTS_PER_CELL / np.maximum(x.sum(axis=1, keepdims=True), 1)))
        return np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
