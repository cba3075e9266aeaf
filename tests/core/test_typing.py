"""Programs of users are typed: those of the README and what they do with a batch pass mypy's strict mode."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {
    "batch": """
from annbatch import Loader

loader = Loader("cells.zarr", labels="cell_type", obs_join="inner", var_join="outer", obs_as="dataframe", rng=0)
for batch in loader:
    names: list[str] = batch["obs"]["cell_type"].tolist()
    genes = batch["var"].index
    rows: list[int] = batch["index"].tolist()
    labels, layer = batch["labels"], batch["layers"]["counts"]
n_vars: int = loader.n_vars
""",
    "conversion": """
from pathlib import Path
from annbatch import DatasetCollection, mix, Loader, statistics
from annbatch.samplers import DistributedSampler, RandomSampler, split

collection = DatasetCollection(Path("cells.zarr"), mode="a").add_adatas(
    [Path("a.h5ad"), "b.h5ad"], raw="use", if_present="skip", layout="portable", merge="same", var_names="unique",
    min_overlap=0, seed=1,
)
obs = collection.obs("cell_type")["cell_type"]
parts = split(collection, {"train": 0.9, "test": 0.1})
sampler = DistributedSampler(RandomSampler(1, 2, 3, mask=parts["train"]), dist_info="env", remainder="pad")
batches = mix([Loader(collection, rows=parts["test"]), Loader(collection, batch_sampler=sampler)], stop="all")
mean = statistics(collection).genes["mean"].sum()
""",
}
WRONG = """
from annbatch import DatasetCollection, Loader

Loader(obs_join="iner")
Loader(var_join="left")
Loader(obs_as="lists")
DatasetCollection("a.zarr", mode="w")
DatasetCollection("a.zarr").add_adatas([], layout="small")
DatasetCollection("a.zarr").add_adatas([], if_present="ignore")
"""


def mypy(root: Path, folder: Path) -> list[str]:
    """Return what mypy says of the programs in a folder, which import the package."""
    # From the root and by its settings, so that what the gate's own run of mypy found out is used.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *sorted(folder.glob("*.py"))],
        cwd=root,
        env=os.environ | {"MYPYPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if ": note: " not in line]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_programs_pass_and_wrong_choices_do_not(repository, tmp_path):
    pytest.importorskip("mypy", reason="needs mypy: pip install 'annbatch[lint]'")
    blocks = re.findall(r"^```python\n(.*?)^```", (repository / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    program = "\n".join(block for block in blocks if not block.lstrip().startswith(">>>"))
    assert "import" in program
    (tmp_path / "readme.py").write_text(program)
    for name, program in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(program)
    (tmp_path / "wrong.py").write_text(WRONG)

    *told, _ = mypy(repository, tmp_path)

    found = [Path(line).name.split(":") for line in told]
    assert [line for line in found if line[0] != "wrong.py"] == []
    assert [int(line[1]) for line in found] == list(range(4, 10)), told
