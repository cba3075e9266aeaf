"""Statistics in one pass against scanpy on the whole matrix."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from annbatch import Loader, statistics
from annbatch.transforms import NormalizeLog1p

sc = pytest.importorskip("scanpy", reason="scanpy is not installed", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore")  # scanpy's own


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    rng = np.random.default_rng(0)
    return ad.AnnData(sp.csr_matrix(rng.poisson(rng.gamma(0.3, 3, 500), (2000, 500)).astype("float32")))


def test_totals_and_numbers_of_genes_are_those_of_the_quality_control(cells):
    found = statistics(Loader().add_adata(cells))

    of_cells, of_genes = sc.pp.calculate_qc_metrics(cells, percent_top=None, log1p=False)

    np.testing.assert_allclose(found.cells["total"], of_cells["total_counts"], rtol=1e-6)
    np.testing.assert_array_equal(found.cells["n_nonzero"], of_cells["n_genes_by_counts"])
    np.testing.assert_allclose(found.genes["mean"], of_genes["mean_counts"], rtol=1e-6)
    np.testing.assert_array_equal(found.genes["n_nonzero"], of_genes["n_cells_by_counts"])


def test_mean_and_variance_are_those_of_highly_variable_genes(cells):
    pytest.importorskip("skmisc", reason="scikit-misc is not installed")
    found = statistics(Loader().add_adata(cells)).genes

    chosen = sc.pp.highly_variable_genes(cells, flavor="seurat_v3", n_top_genes=50, inplace=False)

    np.testing.assert_allclose(found["mean"], chosen["means"], rtol=1e-6)
    np.testing.assert_allclose(found["variance"], chosen["variances"], rtol=1e-6)


def test_a_transform_gives_the_values_of_normalised_cells(cells):
    normalised = cells.copy()
    sc.pp.normalize_total(normalised, target_sum=1e4)
    sc.pp.log1p(normalised)

    found = statistics(Loader(transform=NormalizeLog1p(1e4)).add_adata(cells)).genes

    np.testing.assert_allclose(found["mean"], normalised.X.toarray().astype("f8").mean(axis=0), rtol=1e-6)
