"""MuData: modalities with the same rows; rows that a modality lacks are masked, not dropped."""

from __future__ import annotations

import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from annbatch import Loader
from annbatch.errors import CorruptDataError

mudata = pytest.importorskip("mudata", reason="needs mudata: pip install mudata")
if hasattr(mudata, "set_options"):
    mudata.set_options(pull_on_update=False)  # the default from 0.4 on

N = 60


def modality(rng: np.random.Generator, rows: np.ndarray, n_var: int, kind: str) -> ad.AnnData:
    names = [f"cell{i}" for i in rows]
    x = rng.poisson(0.5, (len(rows), n_var)).astype("f4") + (kind == "prot")
    return ad.AnnData(
        sp.csr_matrix(x) if kind != "prot" else x,
        obs=pd.DataFrame({"depth": rng.integers(0, 9, len(rows)), "batch": pd.Categorical(["a"] * len(rows))}, names),
        var=pd.DataFrame(index=[f"{kind}{i}" for i in range(n_var)]),
        obsm={"image": rng.integers(0, 9, (len(rows), 2, 2)).astype("u1")},
        layers={"raw": sp.csr_matrix(x)},
    )


def multimodal(seed: int, names: tuple[str, ...] = ("rna", "atac", "prot")) -> mudata.MuData:
    """Return modalities of different rows, in different orders."""
    rng = np.random.default_rng(seed)
    rows = {"rna": np.arange(N - 5), "atac": rng.permutation(N)[: N // 2], "prot": rng.permutation(N)[: N - 9]}
    n_var = {"rna": 12, "atac": 7, "prot": 3}
    parts = {name: modality(rng, rows[name], n_var[name], name) for name in names}
    made = mudata.MuData(parts)
    made.obs["donor"] = pd.Categorical(rng.choice(list("xyz"), made.n_obs), categories=list("xyz"))
    return made


MDATA = multimodal(0)
KEYS = ("X", "layers/raw", "mod/rna/obs", "mod/prot/obsm/image", "obs")


def stored_zarr(folder):
    MDATA.write_zarr(folder / "m.zarr")
    return zarr.open_group(folder / "m.zarr", mode="r")


def without_maps(folder):
    stored_zarr(folder)
    group = zarr.open_group(folder / "m.zarr", mode="r+", use_consolidated=False)
    del group["obsmap"]
    return group


def stored_h5mu(folder):
    MDATA.write_h5mu(folder / "m.h5mu")
    return h5py.File(folder / "m.h5mu")


def backed(folder):
    MDATA.write_h5mu(folder / "b.h5mu")
    return mudata.read_h5mu(folder / "b.h5mu", backed="r")


SOURCES = {
    "memory": lambda folder: MDATA,
    "zarr": stored_zarr,
    "zarr, rows by name": without_maps,
    "h5mu": stored_h5mu,
    "backed": backed,
}


def options(**more):
    sampling = {"batch_size": 8, "chunk_size": 4, "preload_nchunks": 4, "shuffle": True, "seed": 0}
    return {**sampling, "return_index": True, **more}


def rows_of(name: str, index: np.ndarray) -> np.ndarray:
    """Return which row of a modality each row is, -1 for none."""
    return MDATA.mod[name].obs_names.get_indexer(MDATA.obs_names[index])


def filled(matrix, at: np.ndarray) -> np.ndarray:
    """Return rows of a matrix, zeros for -1."""
    dense = matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
    out = np.zeros((len(at), *dense.shape[1:]), dense.dtype)
    out[at >= 0] = dense[at[at >= 0]]
    return out


@pytest.mark.parametrize("open_source", SOURCES.values(), ids=SOURCES)
def test_modalities_side_by_side(open_source, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mudata's and zarr's, of how they write
        source = open_source(tmp_path)
    seen = []
    with Loader(keys=KEYS, obs_columns=["donor"], **options()).add_adata(source) as loader:
        assert loader.n_obs == MDATA.n_obs
        assert loader.n_vars == 12 + 7 + 3
        for batch in loader:
            index = batch["index"]
            seen += index.tolist()
            assert list(batch["mod"]) == ["rna", "atac", "prot"]
            assert "X" not in batch
            for name, one in batch["mod"].items():
                at = rows_of(name, index)
                assert one["mask"].dtype == bool
                np.testing.assert_array_equal(one["mask"], at >= 0)
                assert sp.issparse(one["X"]) == (name != "prot")
                x = one["X"].toarray() if sp.issparse(one["X"]) else one["X"]
                np.testing.assert_array_equal(x, filled(MDATA.mod[name].X, at))
                np.testing.assert_array_equal(one["layers"]["raw"].toarray(), filled(MDATA.mod[name].layers["raw"], at))
                assert list(one["var"].index) == list(MDATA.mod[name].var_names)
            image = batch["mod"]["prot"]["obsm"]["image"]
            np.testing.assert_array_equal(image, filled(MDATA.mod["prot"].obsm["image"], rows_of("prot", index)))
            depth = batch["mod"]["rna"]["obs"]["depth"]
            assert depth.dtype == "Int64"
            at = rows_of("rna", index)
            np.testing.assert_array_equal(depth.isna(), at < 0)
            np.testing.assert_array_equal(depth[at >= 0], MDATA.mod["rna"].obs["depth"].to_numpy()[at[at >= 0]])
            assert batch["obs"]["donor"].tolist() == MDATA.obs["donor"].iloc[index].tolist()
    assert sorted(seen) == list(range(MDATA.n_obs))


def test_a_dataset_that_lacks_a_modality():
    other = multimodal(1, names=("rna", "prot"))
    loader = Loader(keys=("X", "obs"), obs_columns=["donor"], **options(shuffle=False)).add_adatas([MDATA, other])
    for batch in loader:
        second = batch["index"] >= MDATA.n_obs
        assert not batch["mod"]["atac"]["mask"][second].any()
        assert batch["mod"]["atac"]["X"][second].nnz == 0
        names = other.obs_names[batch["index"][second] - MDATA.n_obs]
        expected = other.mod["rna"].obs_names.get_indexer(names)
        np.testing.assert_array_equal(batch["mod"]["rna"]["mask"][second], expected >= 0)
        np.testing.assert_array_equal(
            batch["mod"]["rna"]["X"][second].toarray(), _filled_rows(other.mod["rna"].X.toarray(), expected)
        )


def _filled_rows(dense: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.where((at >= 0)[:, None], dense[at], 0)


def test_columns_and_density_by_modality():
    chosen = {"rna": ["rna7", "rna2"], "prot": ["prot1"]}
    loader = Loader(keys="X", var_names=chosen, densify=True, **options()).add_adata(MDATA)
    for batch in loader:
        for name, one in batch["mod"].items():
            part = MDATA.mod[name]
            part = part[:, chosen[name]] if name in chosen else part
            np.testing.assert_array_equal(one["X"], filled(part.X, rows_of(name, batch["index"])))
    with pytest.raises(ValueError, match="`var_names` must be a dict of lists by modality for such data, got list"):
        list(Loader(var_names=["rna1"], **options()).add_adata(MDATA))


def test_one_modality_alone_and_as_arrays():
    loader = Loader(keys=("mod/rna/X", "mod/rna/obs"), obs_as="arrays", **options()).add_adata(MDATA)
    batch = next(iter(loader))
    assert list(batch["mod"]) == ["rna"]
    at = rows_of("rna", batch["index"])
    depth, codes = batch["mod"]["rna"]["obs"]["depth"], batch["mod"]["rna"]["obs"]["batch"]
    assert depth.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(depth), at < 0)
    np.testing.assert_array_equal(codes, np.where(at < 0, -1, 0))
    assert list(loader.categories) == ["mod/rna/obs/batch"]


def test_what_does_not_fit():
    with pytest.raises(KeyError, match="got 'mod/rna/layers/x'; dataset 0 has"):
        Loader(keys="mod/rna/layers/x").add_adata(MDATA)
    with pytest.raises(KeyError, match=r"got \['mod/dna/X'\]; the datasets have \['mod/atac', 'mod/prot', 'mod/rna'\]"):
        list(Loader(keys=("X", "mod/dna/X"), **options()).add_adata(MDATA))
    with pytest.raises(KeyError, match="got 'mod/rna/X'; dataset 0 has"):
        Loader(keys="mod/rna/X").add_adata(MDATA.mod["rna"])
    halves = {"a": MDATA.mod["rna"][:20, :3].copy(), "b": MDATA.mod["rna"][20:, :3].copy()}
    sideways = mudata.MuData(halves, axis=1)
    with pytest.raises(ValueError, match=r"`axis` of a MuData must be 0, .* got 1"):
        Loader().add_adata(sideways)


@pytest.mark.filterwarnings("ignore:This setting will be removed in 0.14:DeprecationWarning")  # mudata asks anndata
@pytest.mark.parametrize("entry", [N, 2**31 - 1])
@pytest.mark.parametrize("stored", [True, False])
def test_a_map_beyond_the_rows_of_a_modality_is_refused_when_it_is_opened(entry, stored, tmp_path):
    made = multimodal(0)
    rows = np.array(made.obsmap["prot"])
    rows[7] = entry
    made.obsmap["prot"] = rows
    if stored:
        made.write_zarr(tmp_path / "odd.zarr")
        made = zarr.open_group(tmp_path / "odd.zarr", mode="r")

    place = f"of {tmp_path}/odd.zarr" if stored else "of a MuData in memory"
    with pytest.raises(CorruptDataError, match=rf"`obsmap/prot` {place} must .* of the {N - 9} rows .* got 0..{entry}"):
        Loader(**options()).add_adata(made)


def test_a_map_that_leads_to_other_rows_is_refused():
    made = multimodal(0)
    made.mod["rna"] = made.mod["rna"][::-1].copy()  # without `update`
    with pytest.raises(ValueError, match="`obsmap/rna` of a MuData in memory must lead to rows of the same names"):
        Loader(**options()).add_adata(made)
    made.update()
    assert Loader(**options()).add_adata(made).n_obs == N


@pytest.mark.parametrize("name", ["", "a/b"])
def test_modalities_have_plain_names(name):
    made = mudata.MuData({name: MDATA.mod["rna"].copy()})
    with pytest.raises(ValueError, match=f"must have names without slashes, got {name!r}"):
        Loader(**options()).add_adata(made)


def test_the_order_of_modalities_may_be_bytes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MDATA.write(tmp_path / "m.h5mu")
    with h5py.File(tmp_path / "m.h5mu", "r+") as file:
        file["mod"].attrs["mod-order"] = np.array([b"prot", b"rna", b"atac"])
    assert list(next(iter(Loader(keys="X", **options()).add_adata(tmp_path / "m.h5mu")))["mod"]) == [
        "prot",
        "rna",
        "atac",
    ]
