"""The lessons as documents. That they run is nbmake's business, in the same pytest call."""

import re
import shutil
import statistics
import subprocess
import sys

import jupytext
import nbformat
import pytest
from jupytext.compare import NotebookDifference, compare_notebooks

import lessons as tool
from lessons_lib import profile
from pages import pictures

NAMES = sorted(path.stem for path in tool.NOTEBOOKS.glob("*.py"))
each_lesson = pytest.mark.parametrize("name", NAMES)


def source(name):
    return jupytext.read(tool.NOTEBOOKS / f"{name}.py")


def rendered(name):
    return nbformat.read(tool.NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(name):
    return [output for cell in code_cells(rendered(name)) for output in cell.outputs]


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def check_pair(name, notebook):
    compare_notebooks(notebook, source(name), fmt="py:percent", compare_ids=False)


@each_lesson
def test_a_pair_has_one_content(name):
    check_pair(name, rendered(name))


@each_lesson
@pytest.mark.parametrize("kind", ["code", "markdown"])
def test_the_pair_check_sees_a_planted_difference(name, kind):
    notebook = rendered(name)
    cell = next(cell for cell in notebook.cells if cell.cell_type == kind)
    cell.source += "\nplanted"
    with pytest.raises(NotebookDifference):
        check_pair(name, notebook)


def test_every_source_has_a_notebook_and_a_row_in_the_readme():
    assert sorted(path.stem for path in tool.NOTEBOOKS.glob("*.ipynb")) == NAMES
    readme = (tool.ROOT / "README.md").read_text()
    assert re.findall(r"^\| \[.*\(notebooks/(.*)\.ipynb\)", readme, re.M) == NAMES


@each_lesson
def test_the_outputs_are_whole_and_free_of_noise(name):
    notebook = rendered(name)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [o for o in outputs(name) if o.output_type == "error" or o.get("name") == "stderr"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert (tool.NOTEBOOKS / f"{name}.ipynb").stat().st_size < 1.5e6
    text = "\n".join(str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for o in outputs(name))
    assert "<function" not in text  # what a widget's call gives says nothing on a page
    assert not re.search(r"(/home/|/root|/tmp/|/work|\\Users\\)", text)


@each_lesson
def test_no_lesson_waits_for_a_widget(name):
    """Executing a notebook with ipywidgets' `interact` hangs now and then (nbclient, issue 312); `plots.sliders` does not."""
    assert not [cell for cell in code_cells(source(name)) if re.search(r"\binteract|ipywidgets", cell.source)]


@each_lesson
def test_a_second_rendering_changes_little(name):
    notebook = rendered(name)
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in tool.to_notebook(name).cells]
    assert not [cell for cell in notebook.cells if "execution" in cell.metadata]


@each_lesson
def test_every_picture_has_alt_text(name):
    shown = [picture for cell in code_cells(rendered(name)) for picture in pictures(cell)]
    assert shown
    for picture in shown:
        assert len(picture.about["alt"].split()) >= 5


@each_lesson
def test_a_lesson_keeps_its_budget(name):
    notebook = source(name)
    code = [len(lines(cell)) for cell in code_cells(notebook)]
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    before_exercises = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith("## Exercises"))
    longer = {
        "04_unet": 50,
        "05_training": 45,
        "08_evaluation": 45,
        "09_colour": 64,
        "10_labels": 74,
        "11_editing": 98,
        "12_super_resolution": 74,
        "13_text": 110,
    }  # a network in the open; derivation and training; many measures; three repairs, training, two packaged networks, verdict;
    # two kinds of guidance, each derived where all is known, trained, and measured; four ways to edit, of which one is derived;
    # a law, derived and checked, two trainings, seven ways that are judged, three traps; a Transformer, three trainings,
    # a reader and what it finds, what is looked at, holes
    assert 20 <= before_exercises <= longer.get(name, 40)
    assert max(code) <= 30
    assert statistics.median(code) <= 8
    assert words >= 8 * sum(code)
    kinds = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert "ccc" not in kinds


@each_lesson
def test_a_lesson_has_its_parts(name):
    notebook = source(name)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert notebook.cells[0].source.startswith(f"# {name[:2]}. ")
    for part in ("**You will**", "**You need**", "**Earned.**", "## Recap", "## Exercises", "## In practice"):
        assert part in text
    assert "\n<!--" not in text  # at the start of a line it would begin a block of HTML, and end the paragraph
    assert any("parameters" in cell.metadata.get("tags", []) for cell in code_cells(notebook))
    assert any("solution" in cell.metadata.get("tags", []) for cell in code_cells(notebook))
    assert any("assert" in cell.source for cell in code_cells(notebook))


# One lesson for each kind of data: the one that trains on it, and measures what it drew.
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("05_training", "the built-in glyphs, printed digits, take its place"),
        ("09_colour", "the built-in scenes take their place"),
    ],
)
def test_a_lesson_runs_without_data_and_network(name, instead, offline, tmp_path):
    copy = shutil.copy(tool.NOTEBOOKS / f"{name}.ipynb", tmp_path)
    pytest_nbmake = [
        sys.executable,
        "-m",
        "pytest",
        "--nbmake",
        "--overwrite",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        tmp_path,
        copy,
    ]
    done = subprocess.run(pytest_nbmake, capture_output=True, text=True, cwd=tmp_path, env=offline | {"LESSONS_PROFILE": "smoke"})
    assert done.returncode == 0, done.stdout
    assert instead in str(nbformat.read(copy, as_version=4))


@each_lesson
def test_what_is_measured_is_what_is_told(name):
    table = tool.json.loads(tool.MEASURED.read_text())
    measured = table[name]
    assert set(measured) <= set(profile.PROFILES)
    assert set(tool.profiles_to_render(name)) <= set(measured)
    assert measured["cpu"]["minutes"] <= 10
    without_avx_512 = tool.Machine("slow", profile.REFERENCE / 4, profile.REFERENCE)
    assert tool.estimate(table, name, "slow", without_avx_512) <= 15
    told = tool.MARKED.findall((tool.NOTEBOOKS / f"{name}.py").read_text())
    assert told, "the lesson says how long it takes"
    assert tool.words_of(measured) in (tool.NOTEBOOKS / f"{name}.py").read_text()
    assert tool.row_of(name, measured) in (tool.ROOT / "README.md").read_text()


def test_the_minutes_are_of_the_machine_that_the_readme_names():
    """The table's, the library's and the README's speed are one, as far as a shared machine has one."""
    table = tool.json.loads(tool.MEASURED.read_text())
    speeds = [one["gflops"] for measured in table.values() for one in measured.values() if "gflops" in one]
    assert not speeds or abs(statistics.median(speeds) / profile.REFERENCE - 1) < 0.3
    readme = (tool.ROOT / "README.md").read_text()
    assert f"convolutions at {profile.REFERENCE:.0f} GFLOP/s" in readme
    assert f"less than {profile.SLOW:.0%}".replace("%", " %") in readme
