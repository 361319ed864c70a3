"""`make course`: what students and teachers get."""

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import nbformat
import pytest
import tensorflow_datasets as tfds
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

import course
import slides
from lessons import to_notebook
from lessons_lib import checks, prepared
from pages import pictures

LESSONS = {path.stem: path for path in sorted((course.ROOT / "notebooks").glob("[0-9]*.ipynb"))}


def read(name):
    return nbformat.read(LESSONS[name], as_version=4)


def tagged(lesson, tag):
    return [i for i, cell in enumerate(lesson.cells) if tag in cell.metadata.get("tags", [])]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both folders, with a file in the place of MNIST."""
    data = tmp_path_factory.mktemp("tfds") / "mnist"
    (data / "3.0.1").mkdir(parents=True)
    (data / "3.0.1" / "digits").write_text("digits")
    folder = tmp_path_factory.mktemp("course")
    return folder, course.main(folder, data)


@pytest.mark.parametrize("name", LESSONS)
def test_students_get_everything_but_the_solutions_and_outputs(name, built):
    lesson, student = read(name), nbformat.read(built[0] / "student" / "notebooks" / f"{name}.ipynb", as_version=4)
    nbformat.validate(student)
    solutions = tagged(lesson, "solution")
    assert solutions == tagged(student, "exercise")
    assert not tagged(student, "solution")
    for i, (cell, given) in enumerate(zip(lesson.cells, student.cells, strict=True)):
        assert i in solutions or cell.source == given.source
        assert not given.get("outputs")
        assert given.get("execution_count") is None
    for i in solutions:
        given, task = student.cells[i].source, lesson.cells[i - 1].source
        assert (
            re.search(r"^def \w+\(.*\):\n(    \"\"\".*\"\"\"\n)?    \.\.\.  # your code here\Z", given, re.S | re.M)
            or given in task
        )
        assert ("bug clinic" in task.lower()) == (given in task)


@pytest.mark.parametrize("name", LESSONS)
def test_a_check_knows_what_is_not_done_yet(name):
    """The cells as students will have them; what lessons do before their exercises is not needed."""
    student = course.for_students(to_notebook(name))
    modules = {"np": "numpy", "resize": "lessons_lib.resize", "checks": f"lessons_lib.checks.lesson_{name[:2]}"}
    names = {short: importlib.import_module(module) for short, module in modules.items()}
    for i in tagged(student, "exercise"):
        start, check = student.cells[i].source, student.cells[i + 1].source
        exec(start, names)
        assert re.search(r"checks\.(\w+)\(\1\)", check)[1] == re.findall(r"^def (\w+)", start, re.M)[-1]
        if start.endswith("# your code here"):
            with pytest.raises(checks.NotDoneYet, match=r"Exercise \d: not done yet. In the cell above, put the body of `\w+`"):
                exec(check, names)
        else:  # a clinic's check sees its mistakes
            with pytest.raises(AssertionError, match="expected") as caught:
                exec(check, names)
            assert caught.type is checks.NotRightYet


def test_a_students_lesson_runs_to_its_first_exercise(built, tmp_path):
    copy = tmp_path / "02_forward_chain.ipynb"
    copy.write_text((built[0] / "student" / "notebooks" / copy.name).read_text())
    command = [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "-p", "no:cacheprovider", "--rootdir", tmp_path, copy]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    lesson = nbformat.read(copy, as_version=4)
    first = tagged(lesson, "exercise")[0] + 1
    failed = [i for i, cell in enumerate(lesson.cells) if any(o.output_type == "error" for o in cell.get("outputs", []))]
    assert failed == [first], done.stdout
    assert "Exercise 4: not done yet" in done.stdout
    assert all(cell.execution_count for cell in lesson.cells[:first] if cell.cell_type == "code")


def test_teachers_get_solutions_outputs_guide_and_slides(built):
    folder = built[0] / "instructor"
    for name, path in LESSONS.items():
        theirs = nbformat.read(folder / "notebooks" / f"{name}.ipynb", as_version=4)
        assert theirs.cells == nbformat.read(path, as_version=4).cells
        assert (folder / "slides" / f"{name}.html").is_file()
    assert (folder / "docs" / "teaching.md").read_text() == (course.ROOT / "docs" / "teaching.md").read_text()
    assert not list((built[0] / "student").glob("slides")) + list((built[0] / "student").glob("docs"))


def test_the_zips_hold_environment_weights_and_data(built):
    for archive, name in zip(built[1], ("student", "instructor"), strict=True):
        held = zipfile.ZipFile(archive).namelist()
        for path in [
            *course.COPIED[:3],
            "Makefile",
            "pyproject.toml",
            "README.md",
            "lessons_lib/weights/digits.weights.h5",
            "lessons_lib/sampling.py",
        ]:
            assert f"{name}/{path}" in held
        assert f"{name}/tensorflow_datasets/mnist/3.0.1/digits" in held
        assert not [path for path in held if "__pycache__" in path or re.search(r"/notebooks/.*\.py$", path)]
    told = (built[0] / "student" / "README.md").read_text()
    assert "CC BY-SA 3.0) is in `tensorflow_datasets`" in told
    assert told.count("](notebooks/") == len(LESSONS)
    assert course.readme_parts()["Symbols"] in told
    assert all(words in told for words in ("WSL2", "*Run All* stops", "pictures of this profile mean nothing"))
    assert max(map(len, re.sub(r"(?m)^\|.*$", "", told).splitlines())) < 250


@pytest.mark.parametrize("edition", ["student", "instructor"])
def test_an_edition_offers_only_what_works_in_it(edition, built):
    folder = built[0] / edition
    offered = re.findall(
        r"make (\w+) ", subprocess.run(["make", "--no-print-directory", "-s"], cwd=folder, capture_output=True, text=True).stdout
    )
    assert offered == course.COMMANDS
    for name in offered:
        planned = subprocess.run(["make", "--no-print-directory", "-n", name], cwd=folder, capture_output=True, text=True)
        assert planned.returncode == 0
        words = re.findall(r"(?<![\w./])(?!\.venv)\.?[\w-]+/[\w./-]+", planned.stdout)
        assert not words, words  # no path but into .venv
    assert subprocess.run(["make", "--no-print-directory", "-n", "test"], cwd=folder, capture_output=True).returncode
    for text in [(folder / name).read_text() for name in ("README.md", "Makefile", "environment.yml", "pyproject.toml")]:
        told = set(re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z]+)", re.sub(r"(?m)^What the lessons say about .*$", "", text)))
        assert told <= set(course.COMMANDS)
        assert "LESSONS=" not in text


@pytest.mark.parametrize("edition", ["student", "instructor"])
def test_what_a_lesson_points_to_is_there_or_is_said_not_to_be(edition, built):
    folder = built[0] / edition
    readme = (folder / "README.md").read_text()
    for path in (folder / "notebooks").glob("*.ipynb"):
        text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            assert link.startswith("http") or (folder / "notebooks" / link).exists(), (path.name, link)
        for command, name in re.findall(r"`[^`\n]*?\b(make ([a-z]+))\b[^`\n]*`", text):
            assert name in course.COMMANDS or f"`{command}`" in readme, (path.name, command)
        for name in re.findall(r"`([a-z]+/[\w./-]+\.(?:md|py))`", text):
            assert (folder / name).exists() or f"`{name}`" in readme, (path.name, name)


def test_what_is_absent_is_named_and_only_then():
    cell = nbformat.v4.new_markdown_cell(
        "See `benchmarks/README.md`, `make bench`, `X=1 make tables A=b`, `make lab`, we make do."
    )
    lesson = nbformat.v4.new_notebook(cells=[cell])
    assert course.absent({"01": lesson}) == ["benchmarks/README.md", "make bench", "make tables"]
    assert course.absent({"01": nbformat.v4.new_notebook(cells=[])}) == []


def test_an_edition_is_installed_as_the_repository_is(built):
    ours, theirs = (tomllib.loads((folder / "pyproject.toml").read_text()) for folder in (course.ROOT, built[0] / "student"))
    assert theirs["project"] == ours["project"]
    assert theirs["build-system"] == ours["build-system"]
    assert theirs["tool"]["hatch"] == ours["tool"]["hatch"]
    assert set(theirs) == {"build-system", "project", "tool"}
    for name in ("readme", "license-files"):
        files = theirs["project"][name]
        assert all((built[0] / "student" / file).is_file() for file in ([files] if isinstance(files, str) else files))
    plans = [
        subprocess.run(
            ["make", "--no-print-directory", "-n", "install", "READY=never"], cwd=folder, capture_output=True, text=True
        ).stdout
        for folder in (course.ROOT, built[0] / "student")
    ]
    assert plans[0] == plans[1] != ""


def test_jupyterlab_makes_no_pairs_in_an_edition(built, tmp_path):
    """Nor if it lies in a clone of the repository, whose notebooks have pairs."""
    lesson = "notebooks/02_forward_chain.ipynb"
    folders = {"": course.ROOT, "build/student/": built[0] / "student", "build/instructor/": built[0] / "instructor"}
    for name, folder in folders.items():
        (tmp_path / name / "notebooks").mkdir(parents=True)
        for file in ("pyproject.toml", lesson):
            shutil.copy(folder / file, tmp_path / name / file)
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(tmp_path))
    for name in folders:
        manager.save(manager.get(name + lesson), name + lesson)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.py")] == ["notebooks/02_forward_chain.py"]


def test_an_editions_solved_exercises_are_kept(built, tmp_path, capsys):
    """Nothing that was typed is overwritten."""
    build = tmp_path / "course"
    shutil.copytree(built[0], build)
    course.set_aside(build, build.glob("*/notebooks/*.ipynb"))
    assert capsys.readouterr().out == ""  # as they were handed out
    path = build / "student" / "notebooks" / "03_reparameterization.ipynb"
    lesson = nbformat.read(path, as_version=4)
    lesson.cells[-3].source += "\n# solved"
    nbformat.write(lesson, path)
    course.set_aside(build, build.glob("*/notebooks/*.ipynb"))
    assert "course was edited: it is kept as" in capsys.readouterr().out
    assert "# solved" in (tmp_path / "course.edited" / "student" / "notebooks" / path.name).read_text()
    assert not build.exists()


def test_the_data_that_a_course_brings_is_found_however_jupyter_was_started(built, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    brought = built[0] / "student" / "tensorflow_datasets"

    def found(library, cwd):
        prepared._brought_along.cache_clear()
        monkeypatch.setattr(prepared, "__file__", str(library / "lessons_lib" / "prepared.py"))
        monkeypatch.chdir(cwd)
        folders = {Path(prepared.builder("mnist").data_dir).parent.parent for _ in range(2)}
        return *folders, capsys.readouterr().out

    told = f"mnist is taken from {brought}.\n"  # once
    assert found(brought.parent, tmp_path) == (brought, told)  # beside the library, as installed by make
    assert found(tmp_path, brought.parent / "notebooks") == (brought, told)  # beside the notebooks, as an editor starts them
    assert found(tmp_path, tmp_path) == (Path(tfds.core.constants.DATA_DIR).expanduser(), "")
    monkeypatch.setenv("TFDS_DATA_DIR", "/elsewhere")
    assert found(brought.parent, tmp_path) == (Path("/elsewhere"), "")
    prepared._brought_along.cache_clear()


def test_without_prepared_data_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert course.prepared_data() is None
    (tmp_path / "mnist" / "3.0.1.incompleteABC").mkdir(parents=True)
    assert course.prepared_data() is None
    (tmp_path / "mnist" / "3.0.1").mkdir()
    (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").touch()
    assert course.prepared_data() == tmp_path / "mnist"
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert course.prepared_data() is None
    course.write(tmp_path / "student", {}, "the lessons", "Go.", None)
    assert not (tmp_path / "student" / "tensorflow_datasets").exists()
    assert "LeCun" not in (tmp_path / "student" / "README.md").read_text()


def test_a_lesson_that_was_changed_is_not_handed_out(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "NOTEBOOKS", tmp_path)
    name = "02_forward_chain"
    for change in ("source", "failed"):
        lesson = read(name)
        code = next(cell for cell in lesson.cells if cell.cell_type == "code")
        if change == "source":
            code.source += "\n1 + 1"
        else:
            code.outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["no"])]
        nbformat.write(lesson, tmp_path / f"{name}.ipynb")
        with pytest.raises(SystemExit, match=r"02_forward_chain.ipynb: expected the lesson as it was rendered.*LESSONS=02"):
            course.rendered(name)
    (tmp_path / f"{name}.ipynb").unlink()
    with pytest.raises(SystemExit):
        course.rendered(name)


KEPT = "import numpy\n\n\ndef helper(x):\n    return x  # as it is\n\n\n"


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        ("def f(x, *, y=1):\n    return x + y", "def f(x, *, y=1):\n    ...  # your code here"),
        ("def f(x): return x", "def f(x):\n    ...  # your code here"),
        ('def f(x):\n    """Double."""\n    return 2 * x', 'def f(x):\n    """Double."""\n    ...  # your code here'),
        (
            KEPT + "@helper\ndef f(\n    x,\n):\n    # the trick\n    return x",
            KEPT + "@helper\ndef f(x):\n    ...  # your code here",
        ),
    ],
    ids=["signature", "one line", "docstring", "what stands before"],
)
def test_a_stub_keeps_all_but_the_body(solution, expected):
    assert course.stub(solution) == expected
    assert course.stub(solution, "```python\ndef g(x):\n    pass\n```\n") == expected


def test_a_clinic_starts_from_the_function_with_mistakes():
    given = "def f(x):\n    return -x"
    assert course.stub("def f(x):\n    return x", f"Mend it.\n\n```python\n{given}\n```\n\nHow?") == given


@pytest.mark.parametrize("solution", ["print(1)", "a = 1", "def f(x):\n    return x\n\nf(1)", ""])
def test_a_solution_must_end_with_a_function(solution):
    with pytest.raises(ValueError, match=r"solution: expected a cell that ends with a function; received '"):
        course.stub(solution)


@pytest.mark.parametrize("name", LESSONS)
def test_slides_need_no_network_and_leave_no_picture_out(name, built):
    page, lesson = (built[0] / "instructor" / "slides" / f"{name}.html").read_text(), read(name)
    fetched = re.findall(r"<(?:link|script|img)[^>]*?(?:href|src)=[\"']([^\"']+)", page)
    for address in fetched:
        assert address.startswith("data:") or (built[0] / "instructor" / "slides" / address).is_file()
    exercises = next(i for i, cell in enumerate(lesson.cells) if "\n## Exercises" in "\n" + cell.source)
    expected = [f"data:{picture.kind};base64,{picture.data}" for cell in lesson.cells[:exercises] for picture in pictures(cell)]
    assert [address for address in fetched if address.startswith("data:")] == expected
    assert 'alt=""' not in page
    headings = re.findall(r"^## (.+)$", "\n".join(cell.source for cell in lesson.cells), re.MULTILINE)
    shown = re.sub(r"<aside.*?</aside>", "", page, flags=re.DOTALL)
    assert len(re.findall(r"<h2", shown)) == len(headings) - 1  # all but "In practice"
    assert "$$" not in shown
    assert 'class="anchor-link' not in page


def test_what_a_slide_shows_of_prose():
    prose = (
        "Long talk with **one term** and **You will**.\n\n$$a = b$$\n\nMore.\n\n- a list\n- of two\n\n<details>**no**</details>"
    )
    assert list(slides.outline(prose)) == ["- one term", "$$a = b$$", "", "- a list\n- of two", ""]
