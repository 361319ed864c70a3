"""`make site`: the course as a website in build/site/, from what is committed. Needs no network, then or later.

The pages are the notebooks as they were rendered, with the solutions folded, the README in parts, the guide, the docstrings, and
a table from each paper's equations to the code. Where nothing moves, on paper for example, an animation shows its finished frame.
"""

import html
import importlib.resources
import json
import re
import shutil
import sys
import time
from base64 import b64decode
from pathlib import Path

import nbformat
from mdit_py_plugins.anchors.index import slugify
from sphinx.cmd.build import build_main

from citations import PAPERS, citations
from course import readme_parts, rendered
from lessons import MEASURED, ROOT, chosen_lessons, verbs_of, words_of
from pages import pictures, still, title_of

PAGES = ROOT / "build" / "site-pages"  # what Sphinx reads
SITE = ROOT / "build" / "site"
MATHJAX = importlib.resources.files("sphinx-mathjax-offline") / "static" / "mathjax" / "tex-svg.js"
COPIED = ["docs/teaching.md", "docs/ddpm.gif", "docs/ddim.gif", "docs/naive_sampling.gif", "benchmarks/README.md", "LICENSE"]
COPIED += ["docs/judged.md", "docs/scenes.png", "docs/flowers.png", "LICENSE-TEXT", "CITATION.cff"]
MODULES = [
    "profile",
    "data",
    "glyphs",
    "scenes",
    "plots",
    "schedule",
    "diffusion",
    "oracle",
    "layers",
    "unet",
    "training",
    "weights",
    "files",
    "optimizers",
]
MODULES += ["sampling", "metrics", "judges", "guidance", "editing", "resize", "text", "grammar", "prepared"]

INDEX = """{intro}

## Lessons

<div class="lessons">
{cards}
</div>

{start}

```{{toctree}}
:hidden:
:caption: Lessons
{lessons}
```

```{{toctree}}
:hidden:
:caption: Look up
symbols
papers
api
```

```{{toctree}}
:hidden:
:caption: Teach and contribute
docs/teaching
docs/judged
contribute
benchmarks/README
```
"""
MOTIONLESS = "print, (prefers-reduced-motion: reduce)"  # where animations do not move
CARD = """<a href="notebooks/{name}.html"><img alt="{alt}" src="_static/cards/{picture}" loading="lazy">
<b>{title}</b><small>You will {verbs}. It takes {minutes}.</small></a>"""
PAPERS_PAGE = """# From paper to code

For each equation, this page names the lesson that derives it, the function that computes it, and the tests that check it. It is
collected from the citations in lessons, library and tests. If the library has nothing to compute, the lesson checks the
equation itself. To run a test:

```sh
.venv/bin/python -m pytest -k NAME
```"""


def main(pages=PAGES, site=SITE):
    """Write the pages, then the site; the exit status."""
    shutil.rmtree(pages, ignore_errors=True)
    write_pages(pages)
    shutil.rmtree(site, ignore_errors=True)
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(pages / ".doctrees")]
    options += ["-c", str(ROOT / "docs"), "-D", f"html_static_path={pages / '_static'}"]
    status = build_main([*options, str(pages), str(site)])
    shutil.rmtree(site.parent / "jupyter_execute", ignore_errors=True)  # myst-nb's copies of the pictures
    for page in site.rglob("*.html"):
        page.write_text(with_stills(page.read_text("utf-8"), page.parent), "utf-8")
    return status


def write_pages(folder):
    """All that Sphinx needs, in a folder of its own, laid out like the repository, so that links between pages hold."""
    static = folder / "_static"
    for name in ("notebooks", "docs", "benchmarks", "_static/mathjax"):
        (folder / name).mkdir(parents=True)
    for name in COPIED:
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "docs" / "site.css", static)
    shutil.copy(MATHJAX, static / "mathjax")

    lessons = {name: for_readers(rendered(name)) for name in chosen_lessons("")}
    for name, lesson in lessons.items():
        nbformat.write(lesson, folder / "notebooks" / f"{name}.ipynb")
    parts = readme_parts()
    pages = {
        "index": index(parts, lessons, static / "cards"),
        "symbols": f"# Symbols\n\n{parts['Symbols']}",
        "contribute": f"# Contribute\n\n{parts['Contribute']}\n\n## Licence\n\n{parts['Licence']}",
        "papers": papers(),
        "api": api(),
    }
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text + "\n", "utf-8")
    guide = folder / "docs" / "teaching.md"
    guide.write_text(guide.read_text("utf-8").replace("(../README.md)", "(../index.md)"), "utf-8")


def with_stills(page, folder):
    """A page of HTML in `folder` whose animations give way to their finished frame, in a file beside, where none is to move."""

    def replace(found):
        path = folder / found[1]
        frame = path.is_file() and still(path.read_bytes())
        if not frame:
            return found[0]
        path.with_suffix(".still.png").write_bytes(frame)
        address = str(Path(found[1]).with_suffix(".still.png"))
        return f'<picture><source media="{MOTIONLESS}" srcset="{address}">{found[0]}</picture>'

    return re.sub(r'<img [^>]*?src="([^":]+\.(?:gif|png))"[^>]*>', replace, page)


def for_readers(lesson):
    """The notebook with each picture's alt text where myst-nb looks for it, and solutions folded."""
    lesson = nbformat.from_dict(lesson)
    for cell in lesson.cells:
        if cell.cell_type != "code":
            continue
        shown = cell.metadata.setdefault("mystnb", {})
        if shows := pictures(cell):
            (picture,) = shows  # myst-nb has one alt text for a cell
            shown["image"] = {"alt": picture.about["alt"], "width": f"{picture.about['width']}px"}
        tags = cell.metadata.setdefault("tags", [])
        if "solution" in tags:
            tags.append("hide-input")
            shown |= {"code_prompt_show": "Show our answer", "code_prompt_hide": "Hide our answer"}
    return lesson


def index(parts, lessons, folder):
    """The landing page, with a card for each lesson; its pictures go into a folder."""
    folder.mkdir(parents=True)
    measured = json.loads(MEASURED.read_text("utf-8"))
    cards = []
    for name, lesson in lessons.items():
        picture = [picture for cell in lesson.cells for picture in pictures(cell)][-1]
        file, data = folder / f"{name}.{picture.kind.removeprefix('image/')}", b64decode(picture.data)
        file.write_bytes(still(data) or data)
        verbs = " and ".join(", ".join(verbs_of(lesson)).rsplit(", ", 1))
        alt = html.escape(picture.about["alt"], quote=True)
        title = html.escape(title_of(lesson))
        about = words_of(measured[name])
        cards.append(CARD.format(name=name, picture=file.name, alt=alt, title=title, verbs=verbs, minutes=about))
    start = f"## Two commands\n\n{parts['Two commands']}\n\n## Teach with it\n\n{parts['Teach with it']}"
    pages = "\n".join(f"notebooks/{name}" for name in lessons)
    return INDEX.format(intro=parts[""], cards="\n".join(cards), start=start, lessons=pages)


def papers():
    """From paper to code: a table for each paper, of all that is cited."""
    lines = [PAPERS_PAGE]
    paper = None
    for (of, kind, number), places in citations().items():
        if of != paper:
            paper = of
            lines += ["", f"## {paper}", "", *([PAPERS[paper] + ".", ""] if paper in PAPERS else [])]
            lines += ["| | lesson | in the library | tests |", "|---|---|---|---|"]
        columns = (
            "<br>".join(link(place) for place in places if place.kind == where) for where in ("lessons", "library", "tests")
        )
        lines.append(f"| {kind} {number} | {' | '.join(columns)} |")
    return "\n".join(lines)


def link(place):
    """To a function's documentation, or to the heading in a lesson; a test's name is what pytest wants."""
    if place.kind == "library":
        return f"[`{place.name}`](#lessons_lib.{place.name})"
    if place.kind == "tests":
        return f"<code>{place.name.partition('.')[2].replace('_', '_<wbr>')}</code>"  # may break there
    number = int(place.name[:2])
    return f"[{number:02}. {place.heading.removeprefix(f'{number:02}. ')}](notebooks/{place.name}.ipynb#{slugify(place.heading)})"


def api():
    """Every public function, module by module, from the docstrings."""
    lines = ["# The library", "", "The lessons derive these functions, and then import them: `from lessons_lib import schedule`."]
    for module in MODULES:
        lines += ["", f"## {module}", "", "```{eval-rst}", f".. automodule:: lessons_lib.{module}", "   :members:", "```"]
    return "\n".join(lines)


if __name__ == "__main__":
    start = time.monotonic()
    status = main()
    if not status:
        size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
        print(f"build/site/index.html: {size / 1e6:.1f} MB in {time.monotonic() - start:.0f} s")
    sys.exit(status)
