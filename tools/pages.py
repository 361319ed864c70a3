"""Executed lessons as HTML pages that need no network and no script to be read."""

import html
import os
import re
from copy import deepcopy
from functools import cache
from typing import NamedTuple

from jinja2 import DictLoader
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

# nbconvert's page without its scripts from the network, and with the alt text that it drops.
LESSON = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% macro picture(output, kind) %}
{%- set about = output.metadata.get(kind, {}) -%}
<div class="jp-RenderedImage jp-OutputArea-output" tabindex="0">
<img src="data:{{ kind }};base64,{{ output.data[kind] }}" alt="{{ about.get('alt', '') | e }}"
  {%- if about.get('width') %} width="{{ about.width }}"{% endif %}>
</div>
{% endmacro %}
{% block data_png %}{{ picture(output, 'image/png') }}{% endblock %}
{% block data_jpg %}{{ picture(output, 'image/jpeg') }}{% endblock %}"""

INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Diffusion models</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
  main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1.5rem; }}
  a {{ color: inherit; text-decoration: none; border: 1px solid #bbb; border-radius: 8px; padding: 1rem; }}
  a:hover, a:focus {{ border-color: #0072b2; }}
  img {{ width: 100%; aspect-ratio: 2; object-fit: contain; }}
</style>
<h1>Diffusion models, lesson by lesson</h1>
<p>They run on this machine one after the other, in the profile <code>{profile}</code>; reload this page to see how far they are.
Until a lesson has run here, its page shows what the course brings along.</p>
<main>
{cards}
</main>
</html>
"""


def write_page(folder, lesson, notebook, state):
    """Write a lesson's page, NN_name.html in `folder`; its card for the index, which tells its `state`."""
    notebook, title = deepcopy(notebook), title_of(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = formulas(cell.source)
    body, _ = exporter().from_notebook_node(notebook, resources={"metadata": {"name": title}})
    write(folder / f"{lesson}.html", body)
    shown = [picture for cell in notebook.cells for picture in pictures(cell)]
    picture = f'<img alt="" src="data:{shown[-1].kind};base64,{shown[-1].data}"><br>' if shown else ""
    return f'<a href="{lesson}.html">{picture}<b>{html.escape(title)}</b><br>{html.escape(state)}</a>'


def write_index(folder, cards, profile):
    """Write index.html with those cards; its path."""
    page = folder / "index.html"
    write(page, INDEX.format(cards="\n".join(cards), profile=profile))
    return page


@cache
def exporter():
    """nbconvert's, with our template."""
    return HTMLExporter(extra_loaders=[DictLoader({"lesson.html.j2": LESSON})], template_file="lesson.html.j2")


def write(path, text):
    """Replace a file's text at once: whoever reads meanwhile sees the old or the new, and a full disk harms nothing."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_text(text)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


class Picture(NamedTuple):
    """A picture in a notebook: "image/png" or "image/jpeg", its bytes in base64, and its alt text and width, if it has them."""

    kind: str
    data: str
    about: dict


def pictures(cell):
    """The pictures that a cell shows, in order."""
    return [
        Picture(kind, output.data[kind].strip(), output.metadata.get(kind, {}))
        for output in cell.get("outputs", [])
        for kind in ("image/png", "image/jpeg")
        if kind in output.get("data", {})
    ]


def title_of(notebook):
    """A lesson's title, with its number."""
    return re.search(r"^# (.+)$", notebook.cells[0].source, re.MULTILINE)[1]


def formulas(markdown):
    """$...$ and $$...$$ outside of code as MathML, which browsers show by themselves."""
    parts = re.split(r"(```.*?```|`[^`\n]*`)", markdown, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"\$\$(.+?)\$\$", lambda tex: convert(tex[1].strip(), display="block"), parts[i], flags=re.DOTALL)
        parts[i] = re.sub(r"(?<!\\)\$([^$\n]+?)\$", lambda tex: convert(tex[1]), parts[i])
    return "".join(parts)
