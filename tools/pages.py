"""Executed lessons as HTML pages that need no network and no script to be read."""

import html
import re

import nbformat
from jinja2 import DictLoader
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

# nbconvert's page without its scripts from the network, and with the alt text that it drops.
LESSON = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block data_png %}
{%- set about = output.metadata.get('image/png', {}) -%}
<div class="jp-RenderedImage jp-OutputArea-output" tabindex="0">
<img src="data:image/png;base64,{{ output.data['image/png'] }}" alt="{{ about.get('alt', '') | e }}"
  {%- if about.get('width') %} width="{{ about.width }}"{% endif %}>
</div>
{% endblock data_png %}"""

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
<p>As they have just run on this machine, in the profile <code>{profile}</code>.</p>
<main>
{cards}
</main>
</html>
"""


def write_pages(folder, results, profile):
    """One page for each NN_name.ipynb of `results` in `folder`, and index.html with a card for each; its path."""
    exporter = HTMLExporter(extra_loaders=[DictLoader({"lesson.html.j2": LESSON})], template_file="lesson.html.j2")
    cards = []
    for lesson, result in results.items():
        notebook = nbformat.read(folder / f"{lesson}.ipynb", as_version=4)
        title = title_of(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = formulas(cell.source)
        body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
        (folder / f"{lesson}.html").write_text(body)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
        picture = f'<img alt="" src="data:image/png;base64,{pictures[-1]}"><br>' if pictures else ""
        state = f"failed {result['error']}" if result["error"] else f"{result['minutes']:.1f} minutes"
        cards.append(f'<a href="{lesson}.html">{picture}<b>{html.escape(title)}</b><br>{html.escape(state)}</a>')
    page = folder / "index.html"
    page.write_text(INDEX.format(cards="\n".join(cards), profile=profile))
    return page


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
