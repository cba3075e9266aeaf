"""The commands, run as a shell runs them: what they print, and how they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from annbatch import DatasetCollection
from annbatch.cli import main

MAIN = "import annbatch.cli; raise SystemExit(annbatch.cli.main())"
# Where a shell runs the tests in its background, it has children ignore Ctrl-C, and theirs too.
HEED_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


@pytest.fixture
def h5ad(tmp_path):
    """Return a file of 30 cells in three types, 4 genes."""
    counts = sparse.random(30, 4, 0.5, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    counts.data = np.ceil(counts.data * 9)
    obs = pd.DataFrame({"cell_type": pd.Categorical(["a", "b", "c"] * 10)}, index=[f"cell{i}" for i in range(30)])
    path = tmp_path / "cells.h5ad"
    ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=list("ABCD"))).write_h5ad(path)
    return path


def fails(capsys, *arguments: object) -> str:
    """Run a command that must fail; return the one line that it wrote to standard error."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_attach_refers_to_stores_and_info_describes_each(h5ad, tmp_path, capsys):
    other = tmp_path / "other.h5ad"
    other.write_bytes(h5ad.read_bytes())
    assert main(["attach", str(tmp_path / "all"), str(h5ad), str(other)]) == 0
    assert "refers to 2 stores, which are read where they are" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "all")]) == 0
    told = capsys.readouterr().out
    assert "60 rows x 4 variables in 2 datasets" in told
    assert "not shuffled: `annbatch bench --diversity COLUMN` measures what that costs" in told
    assert all(f"{path}: 30 rows\n  X: csr_matrix float32, read as HDF5" in told for path in (h5ad, other))
    settings = ["--seconds", "0.01", "--batch-size", "10", "--chunk-size", "2"]
    assert main(["bench", str(tmp_path / "all"), *settings, "--join", "inner"]) == 0
    assert "must name each store once" in fails(capsys, "attach", tmp_path / "two", h5ad, h5ad)


def test_convert_makes_a_collection_and_info_describes_it(h5ad, tmp_path, capsys):
    store = tmp_path / "cells.zarr"

    assert main(["convert", str(h5ad), str(store), "--seed", "1"]) == 0
    told = capsys.readouterr().out
    assert f"Converting 1 input into {store}" in told
    assert "30 rows x 4 variables in 1 dataset" in told
    assert main(["info", str(store)]) == 0
    told = capsys.readouterr().out
    assert "30 rows x 4 variables in 1 dataset" in told
    assert "X: csr_matrix float32, stored as uint8" in told
    assert "obs: cell_type, src_path" in told
    assert DatasetCollection(store, mode="r").n_obs == 30


@pytest.mark.parametrize(("flags", "in_order"), [(["--no-shuffle"], True), (["--seed", "0"], False)])
def test_convert_shuffles_unless_told_not_to(flags, in_order, h5ad, tmp_path):
    assert main(["convert", str(h5ad), str(tmp_path / "cells.zarr"), *flags]) == 0

    names = DatasetCollection(tmp_path / "cells.zarr", mode="r").obs().index
    assert sorted(names) == sorted(f"cell{i}" for i in range(30))
    assert (list(names) == [f"cell{i}" for i in range(30)]) == in_order


def test_convert_with_one_seed_gives_one_order(h5ad, tmp_path):
    stores = [tmp_path / "one.zarr", tmp_path / "two.zarr"]
    for store in stores:
        assert main(["convert", str(h5ad), str(store), "--seed", "7"]) == 0

    one, two = (DatasetCollection(store, mode="r").obs().index for store in stores)
    assert list(one) == list(two)


def test_convert_says_what_it_takes_joins_and_narrows(h5ad, tmp_path, capsys):
    other = ad.read_h5ad(h5ad)[:, ["B", "D"]].copy()
    other.obs_names = [f"other{i}" for i in range(30)]
    other.write_h5ad(tmp_path / "other.h5ad")
    paths = [str(path) for path in (h5ad, tmp_path / "other.h5ad", tmp_path / "cells.zarr")]

    assert main(["convert", *paths, "--memory-limit", "500MB"]) == 0
    told = capsys.readouterr()
    assert "Converting 2 inputs" in told.out
    assert "60 rows x 4 variables in 1 dataset" in told.out
    assert "X: csr_matrix float32, stored as uint8" in told.out
    assert " before, " in told.out
    assert "Variables: 2 to 4 in each input, 2 shared by all, 4 in the collection." in told.out
    assert "60 rows: " in told.out
    assert "Writing: 100%" in told.err


def test_convert_of_columns_that_do_not_fit_ends_with_one_line(h5ad, tmp_path, capsys):
    other = ad.read_h5ad(h5ad)
    other.obs["cell_type"] = np.arange(30)
    other.write_h5ad(tmp_path / "other.h5ad")

    line = fails(capsys, "convert", h5ad, tmp_path / "other.h5ad", tmp_path / "cells.zarr")
    assert line.startswith("annbatch: error: Column 'cell_type' of `obs` must hold one kind of values")
    assert not (tmp_path / "cells.zarr").exists()


def test_convert_of_a_missing_file_names_it(tmp_path, capsys):
    line = fails(capsys, "convert", tmp_path / "absent.h5ad", tmp_path / "cells.zarr")

    assert line == f"annbatch: error: {tmp_path / 'absent.h5ad'}: no such file."
    assert not (tmp_path / "cells.zarr").exists()


def test_convert_of_something_else_names_it(tmp_path, capsys):
    (tmp_path / "text.h5ad").write_text("no HDF5")

    assert "text.h5ad" in fails(capsys, "convert", tmp_path / "text.h5ad", tmp_path / "cells.zarr")


def test_info_of_a_missing_store_names_it(tmp_path, capsys):
    assert str(tmp_path / "absent.zarr") in fails(capsys, "info", tmp_path / "absent.zarr")


def test_info_of_something_else_names_it(tmp_path, capsys):
    (tmp_path / "text.h5ad").write_text("no HDF5")
    assert "text.h5ad" in fails(capsys, "info", tmp_path / "text.h5ad")
    assert str(tmp_path) in fails(capsys, "info", tmp_path)


def test_info_of_a_mudata_names_its_modalities(h5ad, tmp_path, capsys):
    with h5py.File(h5ad) as one, h5py.File(tmp_path / "two.h5mu", "w") as file:
        for name in ("obs", "var"):
            one.copy(name, file)
        for name in ("rna", "atac"):
            one.copy(one, file.require_group("mod"), name)
    assert main(["info", str(tmp_path / "two.h5mu")]) == 0
    told = capsys.readouterr().out
    assert "30 rows x 4 variables; a MuData of atac, rna, not a collection" in told
    assert told.count("X: csr_matrix float32, read as HDF5") == 2


def test_info_tells_how_a_store_is_read_and_what_converting_it_would_gain(h5ad, tmp_path, capsys):
    assert main(["info", str(h5ad)]) == 0
    told = capsys.readouterr().out
    assert "30 rows x 4 variables; an AnnData, not a collection" in told
    assert "X: csr_matrix float32, read as HDF5 (native, uncompressed)" in told
    assert "Converting would not make reading faster" in told

    adata = ad.AnnData(np.ones((3_000, 20)), layers={"columns": sparse.csc_matrix((3_000, 20))})
    with ad.settings.override(auto_shard_zarr_v3=True):  # the format is that of the group
        ad.io.write_elem(zarr.open_group(tmp_path / "cells.zarr", mode="w", zarr_format=3), "/", adata)
    assert main(["info", str(tmp_path / "cells.zarr")]) == 0
    told = capsys.readouterr().out
    assert "X: array float64, read as zarr (native, zstd)" in told
    assert "layers/columns is stored by columns and cannot be read by rows; `annbatch convert` makes a store" in told


def test_verify_finds_nothing_in_a_store_as_it_was_written(h5ad, tmp_path, capsys):
    store = tmp_path / "cells.zarr"
    main(["convert", str(h5ad), str(store)])
    capsys.readouterr()

    assert main(["verify", str(store)]) == 0
    assert "30 rows in 1 dataset" in capsys.readouterr().out


def test_verify_says_where_a_byte_is_wrong(h5ad, tmp_path, capsys):
    store = tmp_path / "cells.zarr"
    main(["convert", str(h5ad), str(store)])
    capsys.readouterr()
    shard = next(path for path in sorted((store / "dataset_0" / "X" / "data").rglob("*")) if path.name == "0")
    content = bytearray(shard.read_bytes())
    content[0] ^= 1
    shard.write_bytes(content)

    assert main(["verify", str(store)]) == 1
    told = capsys.readouterr()
    assert "dataset_0/X/data/c/0" in told.out
    assert told.err.splitlines()[-1].startswith(f"annbatch: error: {store} is damaged: ")


def test_no_command_prints_help(capsys):
    assert main([]) == 0
    assert "convert   make one shuffled collection" in capsys.readouterr().out


def test_the_command_is_installed():
    command = Path(sys.executable).parent / "annbatch"
    result = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)

    assert result.stdout.startswith("annbatch ")


@pytest.mark.slow
def test_ctrl_c_ends_a_command_with_one_line(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HEED_CTRL_C}; {MAIN}", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout.readline().startswith("Making an atlas")
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, (out, err)
    assert err.splitlines()[-1] == "annbatch: interrupted"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_reader_that_leaves_gets_no_traceback(h5ad, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "convert", h5ad, tmp_path / "cells.zarr"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=120) == 141, err
    assert "Traceback" not in err


def test_bench_reads_in_chunks_of_each_size(h5ad, tmp_path, capsys):
    store = tmp_path / "cells.zarr"
    DatasetCollection(store).add_adatas([h5ad], progress=False)

    assert main(["bench", str(store), "--chunk-size", "8", "1", "--batch-size", "4", "--seconds", "0.01"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"Reading {store}: 30 rows x 4 variables"
    assert [line.split()[:3] for line in told[2:4]] == [["8", "4", "4"], ["1", "32", "4"]]
    for line in told[2:4]:
        assert int(line.split()[3].replace(",", "")) > 0


def test_bench_tells_how_diverse_batches_are(h5ad, tmp_path, capsys):
    store = tmp_path / "cells.zarr"
    DatasetCollection(store).add_adatas([h5ad], progress=False)

    flags = ["--chunk-size", "1", "--batch-size", "30", "--seconds", "0", "--diversity", "cell_type"]
    assert main(["bench", str(store), *flags]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1].split()[-2:] == ["entropy", "chunks"]
    assert told[2].split()[-2:] == ["100.0%", "100.0%"]  # a batch of all rows
    assert "'donor'" in fails(capsys, "bench", store, "--diversity", "donor")


def test_bench_of_fewer_rows_than_a_batch_takes_what_there_is(h5ad, tmp_path, capsys):
    store = tmp_path / "cells.zarr"
    DatasetCollection(store).add_adatas([h5ad], progress=False)

    assert main(["bench", str(store), "--seconds", "0"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in told[2:5]] == [["30", "1", "30"], ["16", "15", "30"], ["1", "30", "30"]]
    assert "Loader(batch_size=30, chunk_size=" in told[-1]


@pytest.mark.parametrize("flag", ["--chunk-size", "--batch-size", "--window"])
def test_bench_refuses_what_is_not_positive(flag, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["bench", str(tmp_path), flag, "0"])
    assert f"argument {flag}: must be positive, got 0" in capsys.readouterr().err


def test_bench_of_a_store_that_is_not_there_names_it(tmp_path, capsys):
    assert str(tmp_path / "absent.zarr") in fails(capsys, "bench", tmp_path / "absent.zarr")


def test_an_existing_collection_is_extended_or_replaced_on_request(h5ad, tmp_path, capsys):
    store, other = tmp_path / "cells.zarr", tmp_path / "other.h5ad"
    ad.read_h5ad(h5ad)[:20].copy().write_h5ad(other)
    broken = tmp_path / "broken.h5ad"
    broken.write_bytes(b"no HDF5")
    assert main(["convert", str(h5ad), str(store)]) == 0
    capsys.readouterr()
    told = fails(capsys, "convert", other, store)
    assert "exists already, with 30 rows: --append adds to it, and --overwrite replaces it" in told
    assert "--if-present skip" in fails(capsys, "convert", h5ad, store, "--append")
    assert main(["convert", str(other), str(store), "--append", "--dry-run"]) == 0
    assert "Would add 20 rows x 4 variables of 1 inputs" in "".join(capsys.readouterr())
    assert main(["convert", str(other), str(store), "--append"]) == 0
    assert "Added 20 rows to 30" in capsys.readouterr().out
    assert "broken.h5ad" in fails(capsys, "convert", broken, store, "--overwrite")
    assert DatasetCollection(store).n_obs == 50
    assert main(["convert", str(h5ad), str(store), "--overwrite"]) == 0
    assert "Replaced 50 rows by 30" in capsys.readouterr().out
    replaced = DatasetCollection(store)
    assert (replaced.n_obs, replaced.is_shuffled, replaced.verify().ok) == (30, True, True)
    assert main(["convert", str(other), str(store), "--append"]) == 0


def test_ordinary_files_are_converted_by_flags(h5ad, tmp_path, capsys):
    adata = ad.read_h5ad(h5ad)
    adata.layers["log"] = adata.X.copy()
    adata.raw = adata.copy()
    adata.var_names = ["A", "A", "B", "C"]
    adata.obs["dose"] = 1
    paths = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    adata.write_h5ad(paths[0])
    adata[:, 1:].copy().write_h5ad(paths[1])
    told = fails(capsys, "convert", *paths, tmp_path / "no.zarr", "--raw", "drop")
    assert "repeated" in told
    assert "--var-names unique numbers the repeats" in told
    (tmp_path / "genes.txt").write_text("C\n\nA-1\n")
    flags = ["--raw", "drop", "--var-names", "unique", "--genes", str(tmp_path / "genes.txt"), "--groupby", "cell_type"]
    flags += ["--obs-columns", "cell_type,dose", "--layer", "log"]
    assert main(["convert", *map(str, paths), str(tmp_path / "yes.zarr"), *flags]) == 0
    made = DatasetCollection(tmp_path / "yes.zarr")
    assert list(made.var_names) == ["C", "A-1"]
    assert [*made.obs()] == ["cell_type", "dose", "src_path"]
    assert made.to_adata().layers.keys() == set() or None in made.to_adata().layers
    capsys.readouterr()
    assert main(["convert", str(paths[0]), str(tmp_path / "raw.zarr"), "--raw", "use"]) == 0
    assert list(DatasetCollection(tmp_path / "raw.zarr").var_names) == list("ABCD")
    warned = capsys.readouterr().err
    assert "annbatch: warning: Dropping layers/log: layers have the variables of X, not of raw." in warned
    assert main(["convert", str(paths[0]), str(tmp_path / "dropped.zarr")]) == 0
    told = capsys.readouterr().err
    assert "annbatch: warning: Dropping raw of 1 of 1 inputs, as of" in told
    assert "--raw use converts it in place of X, --raw keep stores" in told
    assert "--layer must be one of all inputs, got 'x'" in fails(
        capsys, "convert", paths[0], tmp_path / "l.zarr", "--raw", "drop", "--layer", "x"
    )


def test_pairwise_matrices_are_kept_by_a_flag(h5ad, tmp_path, capsys):
    adata = ad.read_h5ad(h5ad)
    adata.obsp["near"] = sparse.eye(adata.n_obs, format="csr")
    adata.write_h5ad(tmp_path / "near.h5ad")
    paths = [str(tmp_path / "near.h5ad"), str(tmp_path / "near.zarr")]
    assert main(["convert", *paths]) == 0
    assert "pairwise matrices are kept if they are named, as by --obsp near." in capsys.readouterr().err
    assert main(["convert", *paths, "--overwrite", "--obsp", "near"]) == 0
    assert np.array_equal(DatasetCollection(paths[1]).to_adata().obsm["near"].toarray(), np.eye(adata.n_obs))


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["convrt"], "did you mean 'convert'?"),
        (["convert", "a", "b", "--layot", "compact"], "did you mean '--layout'?"),
        (["convert", "a", "b", "--layout", "compct"], "did you mean 'compact'?"),
        (["convert", "a", "b", "--var-names", "uniqe"], "did you mean 'unique'?"),
        (["xyzzy"], "choose from"),
    ],
)
def test_a_misspelt_word_is_asked_about(arguments, question, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    last = capsys.readouterr().err.splitlines()[-1]
    assert question in last
    assert ("did you mean" in last) == ("did you mean" in question)


@pytest.mark.parametrize("sizes", [["8,1"], ["8", "1"], ["8,2", "1"]])
def test_bench_takes_the_store_before_and_after_the_sizes(sizes, h5ad, tmp_path, capsys):
    store = str(tmp_path / "cells.zarr")
    assert main(["convert", str(h5ad), store]) == 0
    capsys.readouterr()
    flags = ["--batch-size", "4", "--seconds", "0.01"]
    for arguments in ([store, "--chunk-size", *sizes, *flags], [*flags, "--chunk-size", *sizes, store]):
        assert main(["bench", *arguments]) == 0
        told = capsys.readouterr().out
        assert [line.split()[0] for line in told.splitlines() if line.split()[0].isdecimal()] == ",".join(sizes).split(
            ","
        )
