"""Arrays that zarr reads survive a pickle as they are, without a word."""

from __future__ import annotations

import pickle
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from annbatch import DatasetCollection, Loader


def test_a_loader_that_is_unpickled_warns_of_no_codecs(tmp_path):
    counts = np.arange(60, dtype="f4").reshape(20, 3) % 7
    adata = ad.AnnData(sp.csr_matrix(counts), obs=pd.DataFrame(index=[f"cell{i}" for i in range(20)]))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    collection = DatasetCollection(tmp_path / "cells").add_adatas(
        [tmp_path / "cells.h5ad"], shuffle=False, progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # zarr before 3.2 warns of those of numcodecs
        loader = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(Loader(collection, batch_size=20)))))
        (batch,) = loader
    assert batch["X"].toarray().tolist() == counts.tolist()
