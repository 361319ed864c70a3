"""`make course`: what students and teachers get."""

import importlib
import re
import subprocess
import sys
import zipfile

import nbformat
import pytest

import course
import slides
from lessons_lib import checks
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
        assert re.fullmatch(r"(\w+ = \.\.\.  # your code here\n?)+", student.cells[i].source)


@pytest.mark.parametrize("name", LESSONS)
def test_a_check_knows_what_is_not_done_yet(name):
    """The cells as students have them; what lessons do before their exercises is not needed."""
    student = course.for_students(read(name))
    names = {"checks": importlib.import_module(f"lessons_lib.checks.lesson_{name[:2]}")}
    for i in tagged(student, "exercise"):
        exec(student.cells[i].source, names)
        with pytest.raises(checks.NotDoneYet, match=r"Exercise \d: not done yet. In the cell above, put your code for `\w+`"):
            exec(student.cells[i + 1].source, names)


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
        for path in [*course.ENVIRONMENT, "README.md", "lessons_lib/weights/digits.weights.h5", "lessons_lib/sampling.py"]:
            assert f"{name}/{path}" in held
        assert f"{name}/tensorflow_datasets/mnist/3.0.1/digits" in held
        assert not [path for path in held if "__pycache__" in path or re.search(r"/notebooks/.*\.py$", path)]
    told = (built[0] / "student" / "README.md").read_text()
    assert "CC BY-SA 3.0) is in `tensorflow_datasets`" in told
    assert told.count("](notebooks/") == len(LESSONS)


def test_make_finds_the_data_that_a_course_brings(built, tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    show = ["make", "-s", "--eval", "show: ; @echo data=$$TFDS_DATA_DIR", "show"]
    folder = built[0] / "student"
    assert subprocess.run(show, cwd=folder, capture_output=True, text=True).stdout == f"data={folder}/tensorflow_datasets\n"
    assert subprocess.run(show, cwd=course.ROOT, capture_output=True, text=True).stdout == "data=\n"
    monkeypatch.setenv("TFDS_DATA_DIR", "/elsewhere")
    assert subprocess.run(show, cwd=folder, capture_output=True, text=True).stdout == "data=/elsewhere\n"


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


def test_a_solution_must_define_something():
    assert course.stub("import numpy\n\ndef f(x):\n    y = 1\n\na, b = 1, 2\nc = d = 3") == "\n".join(
        f"{name} = ...  # your code here" for name in "fcd"
    )
    with pytest.raises(ValueError, match=r"solution: expected .*; received 'print\(1\)'"):
        course.stub("print(1)")


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
