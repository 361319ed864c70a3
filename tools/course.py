"""`make course`: the course for a room, as a folder and a zip for students and another for whoever teaches.

Both hold the lessons, the library with its weights, the locked environment and, if it is prepared here, MNIST. Students get
`name = ...` where a solution was, and no outputs; teachers get everything, the guide and the slides.
"""

import ast
import json
import os
import shutil
import sys
from pathlib import Path

import nbformat

from lessons import MEASURED, NOTEBOOKS, ROOT, chosen_lessons, failure, row_of, to_notebook
from slides import write_slides

BUILD = ROOT / "build" / "course"
ENVIRONMENT = ["Makefile", "pyproject.toml", "environment.yml", "requirements.lock", "requirements-gpu.lock"]
COPIED = [*ENVIRONMENT, "lessons_lib", "LICENSE", "LICENSE-TEXT", "CITATION.cff"]

README = """# Diffusion models, lesson by lesson: {whose}

In this folder, with Python 3.11, 3.12 or 3.13 and `make`:

```
make lab
```

installs the locked versions into `.venv` (3.0 GB, once, with a network) and opens the lessons in JupyterLab.{data} Start with
`01_naive_denoiser.ipynb`. {what}

Minutes in each profile (`LESSONS_PROFILE=smoke make lab` for the smallest) and peak memory, on two cores:

| lesson | you will | smoke | cpu | gpu | memory |
|---|---|---|---|---|---|
{rows}
"""
FOR_STUDENTS = """In the exercises at each lesson's end, put your code in the place of `...`, run that cell and then the next
one, which checks it and gives a hint."""
FOR_TEACHERS = """`docs/teaching.md` is the guide, `slides/` has a page of slides for each lesson, which need no network: open
them in a browser, S shows the notes. Solutions are in the cells tagged `solution`."""


def main(build, data):
    """Write both, with the data set in the folder `data`, or without (None); their zips."""
    lessons = {lesson: rendered(lesson) for lesson in chosen_lessons("")}
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
    for name, lesson in lessons.items():
        nbformat.write(lesson, folder / "notebooks" / f"{name}.ipynb")
    if data:
        shutil.copytree(data, folder / "tensorflow_datasets" / "mnist")
    measured = json.loads(MEASURED.read_text())
    rows = "\n".join(row_of(name, measured[name]) for name in lessons)
    told = " MNIST (Y. LeCun, C. Cortes; CC BY-SA 3.0) is in `tensorflow_datasets`." if data else ""
    (folder / "README.md").write_text(README.format(whose=whose, what=what, data=told, rows=rows))


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
    if not same or failure(notebook) or lesson not in json.loads(MEASURED.read_text()):
        sys.exit(
            f"{path.name}: expected the lesson as it was rendered; it has changed. make render LESSONS={lesson[:2]} mends it."
        )
    return notebook


def for_students(lesson):
    """The lesson without outputs, and with `name = ...` in the place of each solution."""
    lesson = nbformat.from_dict(lesson)
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
            if "solution" in cell.metadata.get("tags", []):
                cell.source = stub(cell.source)
                cell.metadata.tags = ["exercise"]
    return lesson


def stub(solution):
    """`name = ...` for every name that a solution defines. Raises ValueError if it defines none."""
    names = []
    for node in ast.parse(solution).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    if not names:
        raise ValueError(f"solution: expected one that defines a function or a name; received {solution!r}")
    return "\n".join(f"{name} = ...  # your code here" for name in names)


if __name__ == "__main__":
    data = prepared_data()
    for archive in main(BUILD, data):
        print(f"{archive.relative_to(ROOT)}: {archive.stat().st_size / 1e6:.1f} MB")
    if not data:
        print("Without MNIST, which is not prepared here; make lessons LESSONS=01 fetches it.")
