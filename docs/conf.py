"""How Sphinx builds these pages: ``sphinx-build -W docs docs/_build``."""

from importlib.metadata import version as installed

project = "annbatch"
author = "The annbatch developers"
copyright = author
release = version = installed("annbatch")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"annbatch {release}"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
# What loaders and samplers call of each other: users need none of it.
autodoc_default_options = {
    "exclude-members": "has_short_batch, n_batches_of_epoch, n_ranks_of_epoch, n_remaining_batches, order_seed, "
    "order_seed_is_given, requests_between, starting_late, take_order_seed"
}
autodoc_typehints = "none"  # docstrings describe types in words
napoleon_google_docstring = False
napoleon_use_rtype = False
