"""`make course`: the course for a room, as a folder and a zip for students and another for whoever teaches.

Both hold the lessons, the library with its weights, the locked environment and, if it is prepared here, MNIST. Students get
a function to be written or mended where a solution was, and no outputs; teachers get everything, the guide and the slides.
Each folder is whole in itself: it offers only what works in it.
"""

import ast
import json
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat

from lessons import MEASURED, NOTEBOOKS, ROOT, chosen_lessons, failure, identified, row_of, set_aside, to_notebook
from slides import write_slides

BUILD = ROOT / "build" / "course"
ENVIRONMENT = ["environment.yml", "requirements.lock", "requirements-gpu.lock"]
COPIED = [*ENVIRONMENT, "lessons_lib", "LICENSE", "LICENSE-TEXT", "CITATION.cff"]
COMMANDS = ["help", "install", "lab"]  # of the Makefile, those that work without the repository
SECTIONS = ("build-system", "project", "tool.hatch")  # of pyproject.toml, those that an install needs

README = """# Diffusion models, lesson by lesson: {whose}

You need Linux or macOS, `make`, and Python 3.11, 3.12 or 3.13. On Windows, use WSL2: run `wsl --install` in PowerShell,
and unpack this folder in your home directory of the Linux that it installs. (On Ubuntu, `sudo apt install make
python3-venv` adds what may be missing.) Then, in this folder,

```
make lab
```

installs the locked versions into `.venv` (3.0 GB, once, with a network) and opens the lessons in JupyterLab. Start with
`01_naive_denoiser.ipynb`. {data}

An editor that opens notebooks, such as VS Code, works as well: run `make install` once, and choose `.venv` as the
kernel. If your Python is too old or too new, conda can bring another one: run `conda env create -f environment.yml` and
`conda activate diffusion-lessons` before `make lab`.

## What to expect

{what}
- The lessons choose a size that suits your machine. `make lab LESSONS_PROFILE=smoke` makes everything tiny, to show
  within a minute or two that a lesson runs. **The pictures of this profile mean nothing**, and most numbers in the text
  do not apply to it.
- The same seed may draw other digits on another machine, because sums are rounded in another order.

The table lists the minutes that each lesson takes in the profiles `smoke`, `cpu` and `gpu`, and its peak memory, on two
cores of a server with AVX-512 (`?`: not measured). Two cores without AVX-512 took four times as long; on such a machine
lessons 01 and 05 train for fewer steps, and say so.

| lesson | you will | smoke | cpu | gpu | memory |
|---|---|---|---|---|---|
{rows}
{absent}
## Symbols

{symbols}
"""
FOR_STUDENTS = """\
- The exercises are at the end of each lesson. When one asks for a prediction, its answer is folded away below the
  question. When one asks for code, its cell holds a function without a body, or one with mistakes. Write or mend the
  function, run its cell, and run the cell below, which checks your answer and gives a hint.
- *Run All* stops at the first exercise that is not solved; one that you have not begun says "not done yet". Everything
  above it has then run."""
FOR_TEACHERS = """\
- `docs/teaching.md` is the guide. `slides/` has a page of slides for each lesson: open it in a browser, without a
  network; S shows the notes.
- Solutions are in the cells tagged `solution`. Students get a function without a body there, or one with mistakes, and
  no outputs."""
WITH_DATA = "MNIST (Y. LeCun, C. Cortes; CC BY-SA 3.0) is in `tensorflow_datasets`, where the lessons find it."
WITHOUT_DATA = """The lessons download MNIST (11 MB) when they first need it. Without a network they say so and go on with
built-in printed digits."""
ABSENT = """
What the lessons say about {things} is for the course's repository; nothing here needs it.
"""


def main(build, data):
    """Write both, with the data set in the folder `data`, or without (None); their zips."""
    lessons = {lesson: rendered(lesson) for lesson in chosen_lessons("")}
    set_aside(build, build.glob("*/notebooks/*.ipynb"))
    if build.exists():
        shutil.rmtree(build)
    write(build / "student", {name: for_students(lesson) for name, lesson in lessons.items()}, "the lessons", FOR_STUDENTS, data)
    write(build / "instructor", lessons, "for teachers", FOR_TEACHERS, data)
    (build / "instructor" / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "teaching.md", build / "instructor" / "docs")
    write_slides(build / "instructor" / "slides", lessons)
    return [Path(shutil.make_archive(build / name, "zip", build, name)) for name in ("student", "instructor")]


def write(folder, lessons, whose, what, data):
    """A folder with everything that its lessons need."""
    (folder / "notebooks").mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name, **without_caches(source))
    (folder / "Makefile").write_text(makefile((ROOT / "Makefile").read_text("utf-8")), "utf-8")
    (folder / "pyproject.toml").write_text(pyproject((ROOT / "pyproject.toml").read_text("utf-8")), "utf-8")
    for name, lesson in lessons.items():
        nbformat.write(lesson, folder / "notebooks" / f"{name}.ipynb")
    if data:
        shutil.copytree(data, folder / "tensorflow_datasets" / "mnist")
    measured = json.loads(MEASURED.read_text("utf-8"))
    missing = absent(lessons)
    told = {
        "data": WITH_DATA if data else WITHOUT_DATA,
        "rows": "\n".join(row_of(name, measured[name]) for name in lessons),
        "absent": ABSENT.format(things=", ".join(f"`{name}`" for name in missing)) if missing else "",
        "symbols": readme_parts()["Symbols"],
    }
    (folder / "README.md").write_text(README.format(whose=whose, what=what, **told), "utf-8")


def makefile(text):
    """The Makefile with those rules alone that work in an edition."""
    blocks = text.split("\n\n")
    kept = [block for block in blocks if not (rule := re.match(r"([a-z]+):", block)) or rule[1] in COMMANDS]
    text = re.sub(r"(?m)^\.PHONY:.*$", " ".join([".PHONY: broken", *COMMANDS]), "\n\n".join(kept))
    return re.sub(r" LESSONS=\S.*?\),", "", text).rstrip() + "\n"  # a knob of commands that are not here


def pyproject(text):
    """What an install needs of pyproject.toml, and no pairs of files: saving a notebook in JupyterLab makes no .py."""
    sections = re.findall(r"(?ms)^\[[\w.-]+\]$.*?(?=^\[|\Z)", text)
    kept = [section for section in sections if section[1:].startswith(SECTIONS)]
    return "".join(kept) + '[tool.jupytext]\nformats = "ipynb"\n'


def absent(lessons):
    """What lessons mention in `code` and an edition lacks: commands of the Makefile, files beside the library."""
    text = "\n".join(cell.source for lesson in lessons.values() for cell in lesson.cells)
    commands = {f"make {name}" for name in re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z]+)", text) if name not in COMMANDS}
    return sorted(commands | set(re.findall(r"`((?:benchmarks|docs|tests|tools)/[\w./-]*)`", text)))


def readme_parts():
    """{heading: text} of the repository's README; what comes before the first one is at ""."""
    parts = re.split(r"^## (.+)\n", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    return {"": parts[0].strip()} | {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def without_caches(source):
    """What to leave out of a copied folder."""
    return {"ignore": shutil.ignore_patterns("__pycache__")} if source.is_dir() else {}


def prepared_data():
    """TFDS's folder of MNIST, or None if it is not prepared here."""
    folder = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser() / "mnist"
    return folder if list(folder.glob("*/dataset_info.json")) else None


def rendered(lesson):
    """The committed notebook. Raises SystemExit unless it is whole: the same as its source, run without an error, measured."""
    path = NOTEBOOKS / f"{lesson}.ipynb"
    notebook = nbformat.read(path, as_version=4) if path.exists() else None
    same = notebook and [cell.source for cell in notebook.cells] == [cell.source for cell in to_notebook(lesson).cells]
    if not same or failure(notebook) or lesson not in json.loads(MEASURED.read_text("utf-8")):
        sys.exit(
            f"{path.name}: expected the lesson as it was rendered; it has changed. make render LESSONS={lesson[:2]} mends it."
        )
    return notebook


def for_students(lesson):
    """The lesson without outputs, and with a function to be written or mended in the place of each solution."""
    lesson = nbformat.from_dict(lesson)
    task = ""
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            task = cell.source
            continue
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("execution", None)
        if "solution" in cell.metadata.get("tags", []):
            cell.source = stub(cell.source, task)
            cell.metadata.tags = ["exercise"]
    return identified(lesson)


def stub(solution, task=""):
    """What a student starts from: the function of that name in the task's text, which has mistakes, else one without a body.

    solution: a cell that ends with the function that is checked; what it defines before stays. Raises ValueError otherwise.
    """
    body = ast.parse(solution).body
    answer = body[-1] if body else None
    if not isinstance(answer, ast.FunctionDef):
        raise ValueError(f"solution: expected a cell that ends with a function; received {solution!r}")
    for given in re.findall(r"^```python\n(.*?)^```", task, flags=re.MULTILINE | re.DOTALL):
        if answer.name in {getattr(node, "name", "") for node in ast.parse(given).body}:
            return given.rstrip()
    first = min(node.lineno for node in (answer, *answer.decorator_list))
    answer.body = [*answer.body[: ast.get_docstring(answer) is not None], ast.Expr(ast.Constant(...))]
    return "\n".join([*solution.splitlines()[: first - 1], f"{ast.unparse(answer)}  # your code here"])


if __name__ == "__main__":
    data = prepared_data()
    for archive in main(BUILD, data):
        print(f"{archive.relative_to(ROOT)}: {archive.stat().st_size / 1e6:.1f} MB")
    if not data:
        print("Without MNIST, which is not prepared here; make lessons LESSONS=01 fetches it.")
