"""Models of scvi-tools train on a loader through its own data module, which is written for scverse annbatch."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pytest

scvi = pytest.importorskip("scvi", reason="scvi-tools is not installed", exc_type=ImportError)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those of scvi-tools, Lightning and what they import
]


@pytest.fixture(scope="module")
def paths(shared_data, tmp_path_factory):
    """Return two files of one half of the cells each."""
    adata = ad.read_h5ad(shared_data / "pbmc68k_reduced.h5ad")
    for names in (adata.obs, adata.var):  # anndata 0.12 reads the names as a dtype that it does not write
        names.index = names.index.to_numpy(dtype=object)
    folder = tmp_path_factory.mktemp("halves")
    for number in range(2):
        adata[number::2].copy().write_h5ad(folder / f"{number}.h5ad")
    return [str(folder / f"{number}.h5ad") for number in range(2)]


@pytest.mark.parametrize("name", ["SCVI", "SCANVI", "PEAKVI"])
def test_a_model_trains_two_epochs(name, paths, tmp_path):
    kind = getattr(scvi.model, name)
    module = kind.setup_annbatch(
        paths=paths,
        collection_path=str(tmp_path / "cells.zarr"),
        batch_key="phase",
        labels_key="bulk_labels",
        batch_size=64,
        chunk_size=32,
        preload_nchunks=4,
    )
    made = {"adata": None, "encode_covariates": False, "datamodule": module} if name == "SCANVI" else {}
    model = kind(registry=module.registry, **made)
    model.train(max_epochs=2, datamodule=module, train_size=0.8, check_val_every_n_epoch=1, accelerator="cpu")
    assert np.isfinite(model.history["elbo_train"].to_numpy(dtype=float)).all()
    assert len(model.history["elbo_validation"]) == 2
    latent = model.get_latent_representation(dataloader=module.inference_dataloader())
    assert latent.shape[0] == module.n_obs == 700
    assert np.isfinite(latent).all()


def test_the_lines_of_the_tutorial_run(repository, tmp_path, monkeypatch):
    page = (repository / "docs" / "tutorials" / "scvi.md").read_text()
    begin, section = page.split("## Loaders")[0], page.split("## With scvi-tools")[1]
    cells = re.findall(r"(?ms)^```{code-cell} ipython3\n(.*?)^```$", begin)
    (lines,) = re.findall(r"(?ms)^```python\n(.*?)^```$", section)
    code = "\n".join([*cells, lines]).replace("=1_000", "=100")
    monkeypatch.chdir(tmp_path)
    names = {}

    exec(code, names)

    assert names["latent"].shape == (1000, 10)
    assert list(names["model"].get_var_names()) == list(names["shared"].var_names)
