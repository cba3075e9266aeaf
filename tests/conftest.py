"""What tests of every folder share: the real data, and how Hypothesis runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine makes a correct example slow, so no deadline. The gate tries the same examples for the same code, and
# so half as many; everywhere else each run tries others.
in_gate = os.environ.get("CI") == "true"
settings.register_profile(
    "annbatch", deadline=None, print_blob=True, derandomize=in_gate, max_examples=50 if in_gate else 100
)
settings.load_profile("annbatch")
# For a run that is not about the properties, but about where they are tested: --hypothesis-profile=brief.
settings.register_profile("brief", settings.get_profile("annbatch"), max_examples=10)


@pytest.fixture(scope="session", name="in_gate")
def _in_gate() -> bool:
    """Return whether the gate runs."""
    return in_gate


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real h5ad files beside the repository, or skip where there is none."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data is not on this machine: no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the source tree, or skip where the tests run away from it."""
    folder = Path(__file__).parents[1]
    if not (folder / "README.md").exists():
        pytest.skip("the tests run away from the source tree")
    return folder
