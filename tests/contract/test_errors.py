"""Errors of the loader if a framework is not available."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest

from annbatch import Loader
from annbatch.errors import MissingDependencyError


@pytest.mark.parametrize(
    ("to", "needs"),
    [
        ("torch", "Adapter 'torch' needs PyTorch: `pip install torch`."),
        ("jax", "Adapter 'jax' needs JAX: `pip install jax`."),
        ("cupy", "Adapter 'cupy' needs CuPy: `pip install cupy-cuda12x`"),
    ],
)
def test_a_framework_that_is_not_installed(monkeypatch, to, needs):
    monkeypatch.setitem(sys.modules, to, None)
    with pytest.raises(MissingDependencyError, match=re.escape(needs)):
        Loader(to=to)


def test_a_name_of_no_adapter():
    rule = (
        r"`to` must be None, an adapter or the name of an installed one \('cupy', .*'jax', 'torch'.*\), got 'keras'\."
    )
    with pytest.raises(ValueError, match=rule):
        Loader(to="keras")


@pytest.mark.parametrize(("to", "device"), [("torch", "cuda:99"), ("jax", "tpu:99")])
def test_a_device_that_is_not_there(to, device):
    pytest.importorskip(to, reason=f"{to} is not installed", exc_type=ImportError)
    with pytest.raises(ValueError, match=rf"`device` must be one that .* can use here \(.*\), got '{device}'"):
        Loader(to=to, device=device)


def test_a_device_without_a_framework():
    with pytest.raises(ValueError, match="`device` must be None where `to` is None, got 'cpu'"):
        Loader(device="cpu")


def test_a_dtype_that_jax_lacks_is_named_while_iterating():
    pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
    loader = Loader(batch_size=4, to="jax").add_dataset(np.full((4, 2), 0.1))
    with pytest.raises(TypeError, match=r"JAX has no dtype float64 while `jax_enable_x64` is off"):
        next(iter(loader))


@pytest.mark.parametrize(("framework", "dtype"), [("torch", "int64"), ("jax", "int32")])
def test_labels_have_the_dtype_that_losses_take(framework, dtype):
    pytest.importorskip(framework, reason=f"{framework} is not installed", exc_type=ImportError)
    obs = pd.DataFrame({"type": pd.Categorical(["b", "a", "b"])})
    loader = Loader(batch_size=3, labels="type", to=framework).add_dataset(np.eye(3, dtype="f4"), obs)
    (batch,) = loader
    assert str(batch["labels"].dtype).endswith(dtype)
    assert batch["labels"].tolist() == [1, 0, 1]


def test_a_column_that_jax_cannot_hold_is_named():
    pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
    obs = pd.DataFrame({"reads": [1 << 40, 2]})
    loader = Loader(batch_size=2, to="jax", obs_as="arrays").add_dataset(np.eye(2, dtype="f4"), obs)
    rule = r"Column 'reads' of `obs`: JAX has no dtype int64 .*', True\)`\); or leave it out \(`obs_columns`"
    with pytest.raises(TypeError, match=rule):
        list(loader)
