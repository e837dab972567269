"""Sphinx: ``make docs`` builds docs/_build/html from the Markdown beside this file and from the docstrings."""

from lpnum import __version__

project = "lpnum"
release = version = __version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax"]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
html_theme = "furo"
html_title = f"lpnum {release}"
html_copy_source = False

myst_heading_anchors = 3  # links such as semantics.md#two-low-precision-arrays

# `name` in a docstring links to the API page of that name, if there is one.
default_role = "py:obj"
add_module_names = False
autosummary_generate = True
autodoc_typehints = "none"  # types are said under Parameters, with their shapes
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False


def _skip_what_others_document(app, what, name, obj, skip, options):
    """What estimators and torch's optimizers inherit is documented there, and refers to pages that are not here."""
    return True if (getattr(obj, "__module__", None) or "").startswith(("sklearn.", "torch.")) else None


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", _skip_what_others_document)
