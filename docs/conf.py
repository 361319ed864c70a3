"""Sphinx's settings; `make site` prepares the pages (tools/website.py)."""

import re

project = "Diffusion models, lesson by lesson"
copyright = "the authors of the course. Code: Apache-2.0. Text and figures: CC BY 4.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]

nb_execution_mode = "off"  # the committed outputs
nb_merge_streams = True
nb_ipywidgets_js = {}  # would come from the network
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
mathjax_path = "mathjax/tex-svg.js"  # one file, with its fonts

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True

html_theme = "sphinx_book_theme"
html_title = project
html_css_files = ["site.css"]
html_domain_indices = False
html_copy_source = True  # the lessons, to download
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system has it
html_theme_options = {
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "footer_content_items": ["copyright"],  # which names the authors
    "navbar_persistent": [],  # the sidebar has the search
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def as_rst(app, what, name, thing, options, lines):
    """Docstrings are plain text: names in `backticks` are code, indented lines go on with an argument's description."""
    paragraphs = "\n".join(lines).strip().split("\n\n")
    lines.clear()
    for paragraph in paragraphs:
        paragraph = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``\\ ", re.sub(r"([*|]|_\b)", r"\\\1", paragraph))
        parts = paragraph.split("\n")
        listed = any(part.startswith(" ") for part in parts)
        for part in parts:
            lines.append(f"- {part}" if listed and not part.startswith(" ") else f"  {part.strip()}" if listed else part)
        lines.append("")


def setup(app):
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", as_rst)
