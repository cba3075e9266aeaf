"""A loader shows what it reads."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from annbatch import Loader

CSR = sp.csr_matrix(np.eye(4, 3, dtype="f4"))
IMAGES = np.zeros((12_000, 3, 2), dtype="u1")


@pytest.mark.parametrize(
    ("matrices", "text"),
    [
        ([], "no datasets"),
        ([CSR], "1 dataset, 4 x 3, csr, memory"),
        ([CSR, CSR], "2 datasets, 8 x 3, csr, memory"),
        ([IMAGES], "1 dataset, 12,000 x 3 x 2, dense, memory"),
    ],
)
def test_its_data(matrices, text):
    loader = Loader().add_datasets(matrices) if matrices else Loader()
    assert repr(loader) == f"Loader({text}, sampler=SequentialSampler, to=NumPy)"
