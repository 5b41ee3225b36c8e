"""The documentation site: `sphinx-build -W docs build/site` makes it without a network."""

from __future__ import annotations

import sys
from pathlib import Path

from dqrun import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "dqrun"
author = copyright = "dqrun contributors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "from_code", "studies"]
exclude_patterns = ["_extensions"]

html_theme = "furo"
html_title = f"dqrun {release}"
html_static_path = ["_static"]
html_css_files = ["dqrun.css"]
html_show_copyright = False
html_copy_source = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"

default_role = "code"  # docstrings write `name`, as Markdown does
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
