"""New numbers of rows: what the columns of graphs become, whose rows and columns are shuffled together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._schema.schema import SparseSchema

if TYPE_CHECKING:
    from .._schema.schema import Schema
    from .order import Order


@dataclass(frozen=True, slots=True, eq=False)
class Renumbering:
    """New number of each row in the collection.

    Attributes
    ----------
    numbers
        ``(n_obs,)`` int64, by the row's number through all inputs.
    across
        Whether columns of the inputs' graphs are rows of all inputs together, as in the datasets of a collection.
    """

    numbers: np.ndarray
    across: bool

    @classmethod
    def of(cls, order: Order, schema: Schema, n_obs: int, *, across: bool = False) -> Renumbering | None:
        """Return the new numbers in an order; None if no element needs them."""
        graphs = (one.first_row for one in schema.elements.values() if isinstance(one, SparseSchema))
        first = next((row for row in graphs if row is not None), None)
        if first is None:
            return None
        numbers = np.empty(n_obs, np.int64)
        numbers[order.arrange(order.keys(0, n_obs), np.arange(n_obs))] = np.arange(first, first + n_obs)
        return cls(numbers, across)

    def of_input(self, start: int, n_obs: int) -> np.ndarray:
        """Return the new number of each column of a graph in the input that begins with row ``start``."""
        return self.numbers if self.across else self.numbers[start : start + n_obs]
