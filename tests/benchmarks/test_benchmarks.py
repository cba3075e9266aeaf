"""The benchmarks run: one small run, without peers, whose result is looked at for its shape and never for its times."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Six processes start and import everything: 15 s on a machine that is idle, minutes on one that is not.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def result(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the small version once, in a process of its own, as a user does."""
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "### Sparse" in done.stdout
    assert (out / "result.svg").read_text().startswith("<svg")
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def test_everything_was_measured_and_nothing_failed(result: dict[str, Any]) -> None:
    sections = dict.fromkeys(case["section"] for case in result["cases"])
    wanted = {
        "limits",
        "sparse",
        "batches",
        "small batches",
        "dense",
        "panel",
        "take",
        "sets",
        "tokens",
        "training",
        "conversion",
        "memory",
        "h5ad",
        "foreign",
    }
    if sys.platform == "linux":  # elsewhere cores cannot be chosen, nor files dropped from the page cache
        wanted |= {"one core", "cold"}
    assert set(sections) == wanted
    failed = [one for case in result["cases"] for one in case["contenders"] if "error" in one]
    assert failed == []


def test_samples_hold_whole_passes_over_the_rows(result: dict[str, Any]) -> None:
    n_rows = {store["n_obs"] for store in result["stores"]["sparse"].values()}
    assert n_rows == {3_000}
    for case in result["cases"]:
        for one in case["contenders"]:
            assert 1 <= len(one["samples"]) <= result["settings"]["rounds"]
            assert all(sample["amount"] > 0 and sample["seconds"] > 0 for sample in one["samples"])
            if case["section"] == "sparse":
                assert {sample["amount"] for sample in one["samples"]} <= {1_024, 2_048}, one["name"]


def test_every_loader_is_compared_with_its_limit(result: dict[str, Any]) -> None:
    for case in result["cases"]:
        if case["section"] in ("sparse", "dense", "one core"):
            ours = [one for one in case["contenders"] if one["name"].startswith("annbatch")]
            assert ours
            assert all(one["of_limit"] > 0 for one in ours)


def test_cold_reads_are_compared_with_the_disk(result: dict[str, Any]) -> None:
    cases = [case for case in result["cases"] if case["section"] == "cold"]
    if not cases:
        pytest.skip("files cannot be dropped from the page cache here")
    for case in cases:
        disks = [one for one in case["contenders"] if one["name"].startswith("disk")]
        assert all(one["samples"][0]["wanted_bytes"] > 0 and one["samples"][0]["depth"] > 0 for one in disks)
        ours = [one for one in case["contenders"] if one["name"].startswith("annbatch")]
        assert len(ours) == 3 * len(disks) or (case["case"].partition(": ")[2].startswith("epochs") and not disks)
        assert all(one["of_limit"] > 0 for one in ours if disks)


def test_targets_name_what_was_measured(result: dict[str, Any]) -> None:
    judged = {(one["section"], one["contender"]) for one in result["targets"]}
    assert ("training", "overlapped") in judged
    assert ("small batches", "batches of 128") in judged
    assert all(one["met"] == (one["measured"] >= one["at_least"]) for one in result["targets"])


def test_each_conversion_is_measured_in_speed_and_memory(result: dict[str, Any]) -> None:
    cases = [case for case in result["cases"] if case["section"] == "conversion"]
    assert [case["case"] for case in cases] == ["h5ad files", "h5ad files, gzip", "a collection"]
    assert [len(case["contenders"]) for case in cases] == [6, 1, 2]
    files = {one["name"]: one for one in cases[0]["contenders"]}
    assert files.pop("annbatch, 5 times as many")["samples"][0]["amount"] == 15_000
    stages = [one for name, one in files.items() if name.startswith("limit")]
    slowest = min(one["per_second"] for one in stages)
    assert files["annbatch"]["of_limit"] == files["annbatch"]["per_second"] / slowest
    whole = [one for one in (*files.values(), *cases[1]["contenders"], *cases[2]["contenders"]) if one not in stages]
    for one in whole:
        assert all(sample["amount"] == 3_000 for sample in one["samples"])
        assert one["peak_bytes"] > 100e6
    held = [one for one in result["targets"] if one["field"] == "within"]
    assert [one["against"] for one in held] == ["the memory limit"]


def test_conversions_of_more_rows_are_compared_by_their_rate(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(repository)
    conversion, cases = (importlib.import_module(f"benchmarks.{name}") for name in ("conversion", "cases"))
    samples = {"slow": {"amount": 100, "seconds": 10.0}, "five times as many": {"amount": 500, "seconds": 10.0}}
    monkeypatch.setattr(
        conversion,
        "measure_once",
        lambda one, workers: {"samples": [samples[one.name] | {"cpu_seconds": 1.0, "peak_bytes": 1}]},
    )
    task = {"store": str(tmp_path / "store"), "h5ad": []}
    case = cases.Case("conversion", "files", tuple(cases.Contender(name, "", task) for name in samples), "slow")
    found = conversion.measure_conversion(case, None, rounds=1)
    assert [one["ratio"] for one in found["contenders"]] == [1.0, 5.0]


def test_conversions_are_reported(result: dict[str, Any]) -> None:
    assert [one["name"] for one in result["conversions"]] == ["compact", "portable", "random_access"]
    assert all(one["samples"][0]["amount"] == 3_000 for one in result["conversions"])
