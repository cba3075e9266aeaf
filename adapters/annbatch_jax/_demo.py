"""What ``annbatch demo`` trains where JAX is installed."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from annbatch.demo import COUNTS_PER_CELL, LEARNING_RATE

Weights = tuple[jax.Array, jax.Array]


class Classifier:
    """Softmax regression on log-normalised counts; see :class:`annbatch.demo.Classifier`."""

    def __init__(self, n_features: int, n_classes: int, *, counts: bool) -> None:
        self._counts = counts
        self._weights = jnp.zeros((n_features, n_classes)), jnp.zeros(n_classes)
        zeros = jax.tree.map(jnp.zeros_like, self._weights)
        self._moments = zeros, zeros
        self._n_steps = 0

    def step(self, x: jax.Array, labels: np.ndarray) -> None:
        """Learn from one batch."""
        self._n_steps += 1
        self._weights, self._moments = _adam(
            self._weights, self._moments, self._n_steps, x, labels, counts=self._counts
        )
        jax.block_until_ready(self._weights)  # else the time of this step would be taken for waiting for the next batch

    def predict(self, x: jax.Array) -> np.ndarray:
        """Return ``(n_rows,)`` labels."""
        return np.asarray(_logits(self._weights, x, counts=self._counts).argmax(axis=1))


@partial(jax.jit, static_argnames="counts")
def _logits(weights: Weights, x: jax.Array, *, counts: bool) -> jax.Array:
    if counts:
        x = jnp.log1p(x * (COUNTS_PER_CELL / jnp.maximum(x.sum(axis=1, keepdims=True), 1)))
    return x @ weights[0] + weights[1]


def _loss(weights: Weights, x: jax.Array, labels: jax.Array, *, counts: bool) -> jax.Array:
    likelihoods = jax.nn.log_softmax(_logits(weights, x, counts=counts))
    return -jnp.take_along_axis(likelihoods, labels[:, None], axis=1).mean()


@partial(jax.jit, static_argnames="counts")
def _adam(
    weights: Weights,
    moments: tuple[Weights, Weights],
    n_steps: int,
    x: jax.Array,
    labels: np.ndarray,
    *,
    counts: bool,
) -> tuple[Weights, tuple[Weights, Weights]]:
    """Return weights and moments after one step of Adam (Kingma and Ba, 2015, algorithm 1)."""
    gradient = jax.grad(_loss)(weights, x, labels, counts=counts)
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, moments[1], gradient)
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**n_steps) / (1 - 0.9**n_steps)
    weights = jax.tree.map(lambda w, m, s: w - rate * m / (jnp.sqrt(s) + 1e-8), weights, mean, square)
    return weights, (mean, square)
