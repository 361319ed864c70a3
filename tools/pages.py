"""Executed lessons as HTML pages that need no network and no script to be read."""

import html
import io
import os
import re
from base64 import b64decode, b64encode
from copy import deepcopy
from functools import cache
from typing import NamedTuple

from jinja2 import DictLoader
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from PIL import Image, ImageSequence

# nbconvert's page without its scripts from the network, and with the alt text that it drops. Code wraps where it does not fit.
LESSON = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block notebook_css %}{{ super() }}
<style>
body.jp-Notebook { max-width: 64rem; margin: 0 auto; }
.jp-Notebook pre { white-space: pre-wrap; overflow-wrap: anywhere; }
nav { font: 14px system-ui, sans-serif; padding: 0.5rem 1.5rem 0; }
nav a { color: #0072b2; text-decoration: underline; }
</style>
{% endblock %}
{% block body_header %}{{ super() }}<nav><a href="index.html">All lessons</a></nav>{% endblock %}
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
<p>The lessons run on this machine one after the other, in the profile <code>{profile}</code>{note}. Reload this page to see how
far they are. Until a lesson has run here, its page shows the outputs that come with the course.</p>
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
            cell.source = formulas(re.sub(r"(\]\(\d\d_\w+)\.ipynb", r"\1.html", cell.source))
    body, _ = exporter().from_notebook_node(notebook, resources={"metadata": {"name": title}})
    write(folder / f"{lesson}.html", body)
    shown = [picture for cell in notebook.cells for picture in pictures(cell)]
    kind, data = shown[-1][:2] if shown else ("", "")
    if shown and (frame := still(b64decode(data))):
        kind, data = "image/png", b64encode(frame).decode()
    picture = f'<img alt="" src="data:{kind};base64,{data}"><br>' if shown else ""
    return f'<a href="{lesson}.html">{picture}<b>{html.escape(title)}</b><br>{html.escape(state)}</a>'


def write_index(folder, cards, profile):
    """Write index.html with those cards; its path."""
    page = folder / "index.html"
    note = ", whose pictures mean nothing: it only shows that everything runs" if profile == "smoke" else ""
    write(page, INDEX.format(cards="\n".join(cards), profile=profile, note=note))
    return page


@cache
def exporter():
    """nbconvert's, with our template."""
    return HTMLExporter(extra_loaders=[DictLoader({"lesson.html.j2": LESSON})], template_file="lesson.html.j2")


def write(path, text):
    """Replace a file's text at once: whoever reads meanwhile sees the old or the new, and a full disk harms nothing."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_text(text, "utf-8")
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


def still(data):
    """The frame of an animation that is shown longest, which is the finished picture, as a PNG; None if nothing moves.

    Both are bytes.
    """
    with Image.open(io.BytesIO(data)) as film:
        if getattr(film, "n_frames", 1) == 1:
            return None
        frames = [(frame.info["duration"], frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    _, longest = max(frames, key=lambda frame: frame[0])
    png = io.BytesIO()
    longest.save(png, "PNG")
    return png.getvalue()


def finished_first(data):
    """A looping GIF (bytes) that begins with its last frame, so that this one is seen where nothing moves."""
    with Image.open(io.BytesIO(data)) as film:
        frames = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(film)]
    if all(frame.convert("L").convert("RGB") == frame for frame, _ in frames):  # grey
        frames = [(frame.convert("L"), duration) for frame, duration in frames]
    (first, *others), durations = zip(frames[-1], *frames[:-1], strict=True)
    turned = io.BytesIO()
    first.save(turned, "GIF", save_all=True, append_images=others, duration=list(durations), loop=0)
    return turned.getvalue()


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
