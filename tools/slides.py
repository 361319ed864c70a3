"""Lessons as slides (reveal.js) that need no network: a column for each section, prose as the speaker's notes.

On a slide are a cell's formulas, lists and what its prose has in bold; between them, one slide for each picture and each code
cell with the tag `slide`, with what it prints. Formulas are MathML, pictures are in the page, reveal.js lies beside it.
"""

import html
import importlib.resources
import re
import shutil

from nbconvert.filters import Highlight2HTML, markdown2html
from pygments.formatters import HtmlFormatter

from pages import formulas, pictures, title_of

REVEAL = importlib.resources.files("sphinx_revealjs") / "_static" / "revealjs"
NEEDED = ["dist/reset.css", "dist/reveal.css", "dist/reveal.js", "dist/theme/white.css", "dist/theme/fonts", "plugin/notes"]
USUAL = ("You will", "You need", "Earned", "From now on we import it")  # bold in every lesson
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<link rel="stylesheet" href="reveal/dist/reset.css"><link rel="stylesheet" href="reveal/dist/reveal.css">
<link rel="stylesheet" href="reveal/dist/theme/white.css">
<style>
  .reveal {{ font-size: 30px; }}
  .reveal h1 {{ font-size: 2em; }}
  .reveal h2 {{ font-size: 1.5em; }}
  .reveal h1, .reveal h2 {{ text-transform: none; }}
  .reveal math[display="block"] {{ font-size: 0.85em; }}
  .reveal pre {{ width: 100%; font-size: 0.6em; box-shadow: none; }}
  .reveal img {{ max-height: 600px; min-width: 60%; object-fit: contain; }}
{style}
</style>
<div class="reveal"><div class="slides">
{slides}
</div></div>
<script src="reveal/dist/reveal.js"></script><script src="reveal/plugin/notes/notes.js"></script>
<script>Reveal.initialize({{ hash: true, width: 1280, height: 720, plugins: [RevealNotes] }});</script>
</html>
"""


def write_slides(folder, lessons):
    """One page for each of {name: notebook}, and what they share; the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NEEDED:
        source, goal = REVEAL / name, folder / "reveal" / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, goal, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, goal)
    pages = []
    for name, lesson in lessons.items():
        title = title_of(lesson)
        slides = "\n".join(section(slides) for slides in sections(lesson))
        pages.append(folder / f"{name}.html")
        pages[-1].write_text(
            PAGE.format(title=html.escape(title), slides=slides, style=HtmlFormatter().get_style_defs("  .highlight")), "utf-8"
        )
    return pages


def sections(lesson):
    """Slides, [what is shown as HTML, notes as Markdown], grouped by the headings down to the exercises."""
    groups = []
    for cell in lesson.cells:
        if cell.cell_type == "code":
            groups[-1] += [[one, ""] for one in under_slides(cell)]
            continue
        for part in filter(None, re.split(r"^(?=##? )", cell.source, flags=re.MULTILINE)):
            heading, prose = part.partition("\n")[::2] if re.match(r"##? ", part) else ("", part)
            if heading == "## In practice":
                return groups
            if heading:
                groups.append([])
            shown = [text for text in (heading, *outline(prose)) if text]
            if shown:
                groups[-1].append([as_html("\n\n".join(shown)), prose])
            else:
                groups[-1][-1][1] += "\n\n" + prose
    return groups


def under_slides(cell):
    """A code cell's slides: its code and what it prints, if it has the tag, and its pictures."""
    if "slide" in cell.metadata.get("tags", []):
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        yield Highlight2HTML(pygments_lexer="ipython3")(cell.source) + (f"<pre>{html.escape(printed)}</pre>" if printed else "")
    for kind, data, about in pictures(cell):
        yield f'<img src="data:{kind};base64,{data}" alt="{html.escape(about.get("alt", ""), quote=True)}">'


def section(slides):
    """A heading's slides, one below the other."""
    pages = [f"<section>{shown}<aside class='notes'>{as_html(notes)}</aside></section>" for shown, notes in slides]
    return "<section>" + "\n".join(pages) + "</section>"


def as_html(markdown):
    """Without the anchors that nbconvert puts behind headings."""
    return re.sub(r'<a class="anchor-link".*?</a>', "", markdown2html(formulas(markdown)))


def outline(prose):
    """What a slide shows of prose, in its order: formulas, lists, and what is bold, each on a line."""
    prose = re.sub(r"<details>.*?</details>|```.*?```|<!--.*?-->", "", prose, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n", prose):
        if "$$" in block:
            yield "\n\n".join(re.findall(r"\$\$.+?\$\$", block, flags=re.DOTALL))
        elif re.match(r"\s*[-*] ", block):
            yield block
        else:
            bold = [words.rstrip(".:,") for words in re.findall(r"\*\*(.+?)\*\*", block, flags=re.DOTALL)]
            yield "\n".join(f"- {words}" for words in bold if words not in USUAL)
