"""How Sphinx builds these pages: ``sphinx-build -W docs docs/_build``."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

project = "annbatch"
author = "The annbatch developers"
copyright = author
release = version = installed("annbatch")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "jupyter_execute"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"annbatch {release}"
html_static_path = ["_static"]
html_css_files = ["annbatch.css"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Notebooks are executed once, and again when their code changes.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 400  # of a cell, on a machine that also runs tests
nb_merge_streams = True
suppress_warnings = ["myst-nb.lexer"]  # of a build that executes nothing
# Inherited by the notebooks: their `!python` is this one, and threads of
# PyTorch do not wait for each other where cores are busy.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYTHONWARNINGS", "ignore")

copybutton_exclude = ".linenos, .gp, .go"  # prompts and outputs

autodoc_member_order = "bysource"
# What loaders and samplers call of each other, and what they inherit from
# others: users need none of it.
autodoc_default_options = {
    "exclude-members": "has_short_batch, n_batches_of_epoch, n_ranks_of_epoch, "
    "n_remaining_batches, order_seed, order_seed_is_given, requests_between, "
    "starting_late, take_order_seed",
    "inherited-members": "dict, tuple, BaseException, Exception, "
    "OSError, ImportError, MemoryError, "
    "IterableDataset, LightningDataModule, DataHooks, HyperparametersMixin, "
    "Protocol",
}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = False
napoleon_use_rtype = False

# Inventories of the names that these pages link to, so that a build needs no
# network.
intersphinx_mapping = {
    name: (url, f"inventories/{name}.txt")
    for name, url in {
        "anndata": "https://anndata.readthedocs.io/en/stable/",
        "jax": "https://docs.jax.dev/en/latest/",
        "numpy": "https://numpy.org/doc/stable/",
        "pandas": "https://pandas.pydata.org/docs/",
        "python": "https://docs.python.org/3/",
        "scipy": "https://docs.scipy.org/doc/scipy/",
        "torch": "https://docs.pytorch.org/docs/stable/",
        "zarr": "https://zarr.readthedocs.io/en/stable/",
    }.items()
}
