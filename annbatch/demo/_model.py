"""The model that the demo trains: softmax regression, on NumPy arrays or those of any adapter."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from .._loading.adapters import find_adapter
from ..errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..abc import Adapter

PREFERRED = ("jax", "torch")
LEARNING_RATE = 5e-3


def find_framework(name: str | None) -> Adapter | None:
    """Return the adapter to train with; None for NumPy.

    Parameters
    ----------
    name
        ``"numpy"``, the name of an adapter, or None: the first of ``PREFERRED`` whose framework is installed, else
        NumPy.

    Raises
    ------
    ValueError
        If there is no adapter of that name.
    annbatch.errors.MissingDependencyError
        If its framework is not installed.
    """
    if name is not None:
        return None if name == "numpy" else find_adapter(name, None)
    for preferred in PREFERRED:
        with suppress(MissingDependencyError):
            return find_adapter(preferred, None)
    return None


class Classifier:
    """Softmax regression with Adam (Kingma and Ba, 2015, algorithm 1).

    It uses only the operators and methods that NumPy, PyTorch and JAX have in common.

    Parameters
    ----------
    n_features, n_classes
        Number of columns of ``x``, and of labels.
    to_array
        Function from a NumPy array to one of the framework.
    """

    def __init__(self, n_features: int, n_classes: int, to_array: Callable[[np.ndarray], Any] = np.asarray) -> None:
        self._to_array = to_array
        self._one_hot = np.eye(n_classes, dtype=np.float32)
        shapes = (n_features, n_classes), (1, n_classes)
        self._parameters = [to_array(np.zeros(shape, np.float32)) for shape in shapes]
        self._means = [0 * each for each in self._parameters]
        self._squares = [0 * each for each in self._parameters]
        self._n_steps = 0

    def step(self, x: Any, labels: np.ndarray) -> None:
        """Learn from one batch, and return when that is done.

        Parameters
        ----------
        x
            ``(n_rows, n_features)`` float32, dense, an array of the framework.
        labels
            ``(n_rows,)`` int64.
        """
        exponentials = math.e ** self._logits(x).clip(-80, 80)  # float32 holds e**80, even times 1,000 classes
        likelihoods = exponentials / exponentials.sum(1)[:, None]
        error = (likelihoods - self._to_array(self._one_hot[labels])) / len(labels)
        self._n_steps += 1
        rate = LEARNING_RATE * math.sqrt(1 - 0.999**self._n_steps) / (1 - 0.9**self._n_steps)
        for i, gradient in enumerate((x.T @ error, error.sum(0)[None])):
            self._means[i] = 0.9 * self._means[i] + 0.1 * gradient
            self._squares[i] = 0.999 * self._squares[i] + 0.001 * gradient**2
            self._parameters[i] = self._parameters[i] - rate * self._means[i] / (self._squares[i] ** 0.5 + 1e-8)
        float(self._parameters[0][0, 0])  # waits; else this step's time would count as waiting for the next batch

    def predict(self, x: Any) -> np.ndarray:
        """Return ``(n_rows,)`` labels."""
        return np.array(self._logits(x).argmax(1).tolist(), dtype=np.int64)

    def _logits(self, x: Any) -> Any:
        weights, bias = self._parameters
        return x @ weights + bias
