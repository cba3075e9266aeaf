"""Adapters are found by name, the installed ones of third parties among them."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from annbatch._loading.adapters import find_adapter
from annbatch.abc import Adapter
from annbatch.errors import MissingDependencyError

MODULE = """
from annbatch.abc import Adapter

class ListAdapter(Adapter):
    name = "lists"
    accelerator = "fast"

    def __init__(self, device=None):
        self.device = device

    def dense(self, array):
        return array.tolist()

    def csr(self, matrix):
        return matrix.data.tolist(), matrix.indices.tolist(), matrix.indptr.tolist()

def no_adapter(device=None):
    return "no adapter"
"""
ENTRY_POINTS = """[annbatch.adapters]
lists = lists_for_annbatch:ListAdapter
broken = lists_for_annbatch:no_adapter
torch = lists_for_annbatch:ListAdapter
"""


class MinimalAdapter(Adapter):
    name = "minimal"

    def dense(self, array):
        return array

    def csr(self, matrix):
        return matrix


@pytest.fixture(scope="module")
def third_party(tmp_path_factory) -> Path:
    """Return the folder into which pip installed a package that brings an adapter."""
    folder = tmp_path_factory.mktemp("third_party")
    wheel = folder / "lists_for_annbatch-1.0-py3-none-any.whl"
    info = "lists_for_annbatch-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("lists_for_annbatch.py", MODULE)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: lists-for-annbatch\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", ENTRY_POINTS)
        archive.writestr(f"{info}/RECORD", "")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(folder / "site"), str(wheel)], check=True)
    return folder / "site"


@pytest.fixture
def installed(third_party, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(third_party))


@pytest.mark.usefixtures("installed")
def test_a_third_party_adapter_is_found():
    adapter = find_adapter("lists", "somewhere")
    assert isinstance(adapter, Adapter)
    assert (adapter.name, adapter.device) == ("lists", "somewhere")


@pytest.mark.usefixtures("installed")
def test_an_adapter_names_its_own_accelerator():
    assert find_adapter("lists", None, on_gpu=True).device == "fast"
    assert find_adapter("lists", "slow", on_gpu=True).device == "slow"
    assert find_adapter("lists", None).device is None


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed")
def test_the_gpu_without_a_framework_is_cupys():
    with pytest.raises(MissingDependencyError, match="cupy"):
        find_adapter(None, None, on_gpu=True)


@pytest.mark.usefixtures("installed")
def test_an_entry_point_that_makes_no_adapter():
    point = "Entry point 'broken' = 'lists_for_annbatch:no_adapter' must make an Adapter, got 'no adapter'."
    with pytest.raises(TypeError, match=re.escape(point)):
        find_adapter("broken", None)


@pytest.mark.usefixtures("installed")
def test_a_name_that_two_packages_claim():
    several = "annbatch_torch:TorchAdapter, lists_for_annbatch:ListAdapter"
    rule = f"`to` must name one adapter, got 'torch', of which there are several: {several}."
    with pytest.raises(ValueError, match=re.escape(rule)):
        find_adapter("torch", None)


def test_an_unknown_name_lists_the_installed_ones():
    installed = (
        r"`to` must be None, an adapter or the name of an installed one \('cupy', .*'jax', 'torch'.*\), got 'nothing'"
    )
    with pytest.raises(ValueError, match=installed):
        find_adapter("nothing", None)


def test_no_adapter_for_none():
    assert find_adapter(None, None) is None


def test_an_adapter_is_itself():
    adapter = MinimalAdapter()
    assert find_adapter(adapter, None) is adapter


@pytest.mark.parametrize(("to", "why"), [(None, "where `to` is None"), (MinimalAdapter(), "where `to` is an adapter")])
def test_a_device_without_a_name(to, why):
    with pytest.raises(ValueError, match=rf"`device` must be None {why}.*, got 'cpu'\."):
        find_adapter(to, "cpu")


def test_another_type():
    rule = "`to` must be None, the name of an adapter or an annbatch.abc.Adapter, got 3."
    with pytest.raises(TypeError, match=re.escape(rule)):
        find_adapter(3, None)
