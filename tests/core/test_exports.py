"""Each public name is listed once, sorted, and there."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest

import annbatch

MODULES = ["abc", "collection", "demo", "samplers", "testing", "transforms", "tuning"]


@pytest.mark.parametrize("name", ["annbatch", *(f"annbatch.{module}" for module in MODULES)])
def test_all_lists_the_public_names_sorted(name):
    module = import_module(name)

    assert module.__all__ == sorted(module.__all__)
    assert all(not exported.startswith("_") and getattr(module, exported) is not None for exported in module.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Lodaer'"):
        annbatch.Lodaer  # noqa: B018 - looking it up is the test


def test_dir_lists_what_was_not_imported_yet():
    assert set(annbatch.__all__) <= set(dir(annbatch))


@pytest.mark.parametrize(
    ("exported", "home"), [("Loader", "loader"), ("DatasetCollection", "collection"), ("suggest", "tuning")]
)
def test_exports_are_the_objects_of_their_homes(exported, home):
    assert getattr(annbatch, exported) is getattr(import_module(f"annbatch.{home}"), exported)


def test_the_reference_lists_every_public_name_and_no_private_one(repository):
    reference = (repository / "docs" / "api.md").read_text()

    assert [name for name in annbatch.__all__ if not re.search(rf"annbatch\.{name}\b", reference)] == []
    assert re.findall(r"\S*\._\S*", reference) == []


def test_descriptions_of_properties_are_no_types(repository):
    names = re.findall(r"~(annbatch\.[\w.]+)\.(\w+)", (repository / "docs" / "api.md").read_text())
    classes = [kind for module, name in names if isinstance(kind := getattr(import_module(module), name), type)]
    lines = {
        f"{kind.__name__}.{name}": (value.__doc__ or "").split("\n")[0]
        for kind in classes
        for name, value in inspect.getmembers(kind, lambda one: isinstance(one, property))
    }
    assert len(lines) > 50
    # What is before a colon is shown as the type.
    assert [name for name, line in lines.items() if ":" in re.sub("``.*?``|:[a-z]+:`.*?`", "", line)] == []
