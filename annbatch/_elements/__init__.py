"""One element (X, a layer, an obsm) over all datasets: its share of a window, planned, begun, and cut into batches.

``csr`` and ``dense``: as it is stored. ``densified``: stored sparse, dense in batches. ``selected`` and
``dense_selected``: with other columns. ``transformed``: with other values.
"""

from __future__ import annotations

from .csr import CsrElement as CsrElement
from .dense import DenseElement as DenseElement
from .dense_selected import DenseSelectedElement as DenseSelectedElement
from .densified import DensifiedElement as DensifiedElement
from .element import Element as Element
from .element import ElementPlan as ElementPlan
from .element import ElementWindow as ElementWindow
from .selected import SelectedElement as SelectedElement
from .transformed import TransformedElement as TransformedElement
