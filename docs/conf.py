"""How Sphinx makes the site: `sphinx-build -W docs build/docs`, without a network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mtpfix import __version__

project = "mtpfix"
author = "the mtpfix developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "tools.docs.extension",
]
source_suffix = {".md": "markdown"}
root_doc = "index"
nitpicky = True
nitpick_ignore_regex = [
    # The standard library and what a signature says in words; no inventory is fetched.
    ("py:class", r"(collections|pathlib|enum|typing)\..*|Path|optional|Json"),
    ("py:exc", r"(ValueError|OSError)"),
    # Annotations that Sphinx cuts at commas where a default of the signature is a factory.
    ("py:class", r"tuple\[.*"),
    # A platform, `cuda:10.0`, that Sphinx cuts at its colon.
    ("py:class", r"10\.0'"),
    # Records of stages that no caller of the public functions has in hand.
    ("py:class", r"mtpfix\.(drafts|engines|grafts|repair)\..*"),
    ("py:obj", r"typing\..*"),
    # What stands for the arguments and the result of any call.
    ("py:class", r"P|mtpfix\.handle\.T"),
    # The words of `Checkpoint`, as keyword arguments of the calls.
    ("py:class", r"typing_extensions\..*|mtpfix\.handle\.(Where|Releases)"),
    # Annotations of records that Sphinx does not resolve.
    ("py:class", r"Judgement|Purpose|Block|IndexRepair|Renames|Mapping\[str"),
]
# `--option` is an option, not a dash.
smartquotes = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
# Links into the tree, such as `tests/conformance`, are code, not links.
myst_url_schemes = ["http", "https", "mailto"]

# A backtick in a docstring is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_use_ivar = True
add_module_names = False

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"


def _colors(brand: str) -> dict[str, str]:
    """The variables of the theme that have the colour of the brand."""
    names = ("color-brand-primary", "color-brand-content", "color-api-name", "color-api-pre-name")
    return dict.fromkeys(names, brand)


html_theme = "furo"
html_title = f"mtpfix {__version__}"
html_static_path = ["_static"]
html_css_files = ["mtpfix.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "sidebar_hide_name": False,
    "light_css_variables": _colors("#0b6e4f"),
    "dark_css_variables": _colors("#5fd3a8"),
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
