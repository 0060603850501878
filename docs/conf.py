"""Sphinx settings: one chapter per folder, in the order the data flows."""

import exastorm

project = "exastorm"
author = "the exastorm developers"
copyright = "2026, the exastorm developers"  # noqa: A001
release = exastorm.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "exastorm"
nitpicky = False
