"""What ``annbatch demo`` trains where torch is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from annbatch.demo import COUNTS_PER_CELL, LEARNING_RATE

if TYPE_CHECKING:
    import numpy as np


class Classifier:
    """Softmax regression on log-normalised counts; see :class:`annbatch.demo.Classifier`."""

    def __init__(self, n_features: int, n_classes: int, *, counts: bool) -> None:
        self._counts = counts
        self._model = torch.nn.Linear(n_features, n_classes)
        torch.nn.init.zeros_(self._model.weight)
        torch.nn.init.zeros_(self._model.bias)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE)

    def step(self, x: torch.Tensor, labels: np.ndarray) -> None:
        """Learn from one batch."""
        logits = self._model(self._features(x))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    @torch.no_grad()
    def predict(self, x: torch.Tensor) -> np.ndarray:
        """Return ``(n_rows,)`` labels."""
        logits: torch.Tensor = self._model(self._features(x))
        return logits.argmax(dim=1).numpy()

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        if self._counts:
            x = torch.log1p(x * (COUNTS_PER_CELL / x.sum(dim=1, keepdim=True).clamp(min=1)))
        return x
