"""`make lessons` on two small lessons of our own, one of which fails."""

import json
import resource

import jupytext
import nbformat
import pytest

import lessons as tool

GOOD = """# %% [markdown]
# # 01. Draw a line
#
# **You will**

# %% [markdown]
# - **draw** a line;
# - **look** at it.
#
# A formula, $a^2$, and `$HOME`. It takes <!-- measured -->long<!-- /measured -->.

# %%
import imageio.v3 as iio
import numpy as np
from IPython.display import Image

line = iio.imwrite("<bytes>", np.eye(9, dtype=np.uint8) * 255, extension=".png")
Image(data=line, format="png", alt="A line & its end")
"""

BAD = """# %% [markdown]
# # 02. Fail

# %%
numbers = [1, 2]

# %%
assert sum(numbers) == 4, f"received {sum(numbers)}"
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of its own: notebooks, README and docs in a temporary folder."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(tool, "BUILD", tmp_path / "build" / "lessons")
    monkeypatch.setattr(tool, "MEASURED", tmp_path / "notebooks" / "measured.json")
    monkeypatch.setenv("LESSONS", "")
    monkeypatch.setenv("LESSONS_PROFILE", "smoke")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "notebooks" / "01_line.py").write_text(GOOD)
    (tmp_path / "notebooks" / "02_fail.py").write_text(BAD)
    (tmp_path / "README.md").write_text("| lesson |\n| [01](notebooks/01_line.ipynb) |\nend\n")
    return tmp_path


def test_a_failing_lesson_is_named_and_the_others_still_run(course, capsys):
    (course / "notebooks" / "00_fail.py").write_text(BAD.replace("02.", "00."))
    assert tool.main("run") == 1
    said = capsys.readouterr().out
    assert "[1/3] 00_fail, profile smoke" in said
    assert 'FAILED in cell [2] at `assert sum(numbers) == 4, f"received {sum(numbers)}"`: AssertionError: received 3' in said
    rows = [line.split() for line in said.splitlines() if line[:3] in ("00_", "01_", "02_")]
    assert [row[:2] for row in rows] == [["00_fail", "FAILED"], ["01_line", "passed"], ["02_fail", "FAILED"]]
    assert all(float(row[2]) >= 0 and float(row[3]) > 0.05 for row in rows)  # minutes, GB
    assert said.splitlines()[-1] == f"Look at it: {course}/build/lessons/index.html"
    assert not list((course / "notebooks").glob("*.ipynb"))  # a run touches the copy only


def test_the_pages_show_pictures_with_alt_text(course, monkeypatch):
    monkeypatch.setenv("LESSONS", "01")
    assert tool.main("run") == 0
    index = (course / "build/lessons/index.html").read_text()
    assert 'href="01_line.html"' in index
    assert "01. Draw a line" in index
    assert "data:image/png;base64," in index
    page = (course / "build/lessons/01_line.html").read_text()
    assert 'alt="A line &amp; its end"' in page
    assert page.count("<img ") == 1
    assert "<msup><mi>a</mi>" in page
    assert "<code>$HOME</code>" in page
    assert "<script" not in page  # nothing to fetch, nothing to run


def test_rendering_commits_outputs_and_what_was_measured(course, monkeypatch):
    monkeypatch.setenv("LESSONS", "01")
    assert tool.main("render") == 0
    measured = json.loads((course / "notebooks/measured.json").read_text())["01_line"]
    assert set(measured) == {"smoke", "cpu"}
    told = f"about 1 minute on two CPU cores and {measured['cpu']['memory_gb']} GB of memory"
    source = jupytext.read(course / "notebooks/01_line.py")
    notebook = nbformat.read(course / "notebooks/01_line.ipynb", as_version=4)
    assert [cell.source for cell in source.cells] == [cell.source for cell in notebook.cells]
    assert told in notebook.cells[1].source
    row = f"| [01. Draw a line](notebooks/01_line.ipynb) | draw, look | {measured['smoke']['minutes']:.1f} "
    assert row in (course / "README.md").read_text()

    before = [(cell.id, cell.metadata) for cell in notebook.cells]
    assert tool.main("render") == 0  # again: the same ids, no time stamps
    again = nbformat.read(course / "notebooks/01_line.ipynb", as_version=4)
    assert [(cell.id, cell.metadata) for cell in again.cells] == before
    assert again.cells[2].outputs == notebook.cells[2].outputs


def test_a_failing_lesson_is_not_committed(course, monkeypatch):
    monkeypatch.setenv("LESSONS", "02")
    assert tool.main("render") == 1
    assert not list((course / "notebooks").glob("*.ipynb"))
    assert not (course / "notebooks/measured.json").exists()


def test_outputs_made_with_the_fallback_are_not_committed(course, monkeypatch):
    monkeypatch.setenv("LESSONS", "02")
    (course / "notebooks/02_fail.py").write_text(
        BAD.replace("== 4", "== 3") + "\nprint('the built-in ' + 'glyphs take its place')\n"
    )
    assert tool.main("run") == 0
    assert tool.main("render") == 1
    assert not list((course / "notebooks").glob("*.ipynb"))


def test_equal_cells_get_ids_of_their_own(course):
    (course / "notebooks/03_twice.py").write_text("# %%\n1\n\n# %%\n1\n")
    ids = [cell.id for cell in tool.to_notebook("03_twice").cells]
    assert ids[1] == f"{ids[0]}-2"


@pytest.mark.parametrize("wanted", ["07", "01,x"])
def test_an_unknown_lesson_is_refused(course, wanted):
    with pytest.raises(SystemExit, match=f"LESSONS: expected some of 01_line, 02_fail; received '{wanted}'"):
        tool.chosen_lessons(wanted)


def test_a_full_disk_harms_no_lesson(course, monkeypatch):
    (course / "build/lessons").mkdir(parents=True)
    nbformat.write(tool.to_notebook("01_line"), course / "build/lessons/01_line.ipynb")
    before = (course / "notebooks/01_line.py").read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            tool.tell("01_line", {"cpu": {"minutes": 1, "memory_gb": 1}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (course / "notebooks/01_line.py").read_text() == before
    assert sorted(path.name for path in (course / "notebooks").iterdir()) == ["01_line.py", "02_fail.py"]


def test_outputs_of_another_source_are_not_committed(course):
    (course / "build/lessons").mkdir(parents=True)
    nbformat.write(tool.to_notebook("01_line"), course / "build/lessons/01_line.ipynb")
    (course / "notebooks/01_line.py").write_text(GOOD.replace("eye(9", "eye(7"))
    with pytest.raises(SystemExit, match=r"01_line.py changed while it ran; render it again"):
        tool.tell("01_line", {"cpu": {"minutes": 1, "memory_gb": 1}})


def test_a_kernel_that_dies_is_named(course, monkeypatch, capsys):
    monkeypatch.setenv("LESSONS", "02")
    (course / "notebooks/02_fail.py").write_text(BAD.replace("assert sum", "import os; os._exit(3)\nassert sum"))
    assert tool.main("run") == 1
    assert "FAILED the kernel died (out of memory?)" in capsys.readouterr().out


def test_an_unknown_profile_is_refused(course, monkeypatch):
    monkeypatch.setenv("LESSONS_PROFILE", "fast")
    with pytest.raises(SystemExit, match="LESSONS_PROFILE: expected one of smoke, cpu, gpu; received 'fast'"):
        tool.main("run")


def test_a_lesson_without_a_row_in_the_readme_is_refused(course):
    (course / "README.md").write_text("no table\n")
    (course / "build/lessons").mkdir(parents=True)
    nbformat.write(tool.to_notebook("01_line"), course / "build/lessons/01_line.ipynb")
    with pytest.raises(SystemExit, match="expected a row of the lesson table"):
        tool.tell("01_line", {"cpu": {"minutes": 1, "memory_gb": 1}})


def test_widgets_are_not_committed():
    """They need a kernel; their state would differ from run to run."""
    shown = nbformat.v4.new_output("display_data", {tool.WIDGET: {"model_id": "1"}, "text/plain": "interactive(...)"})
    told = nbformat.v4.new_output("stream", text="told")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[shown, told])], metadata={"widgets": {}})
    tool.clean(notebook)
    assert notebook.cells[0].outputs == [told]
    assert "widgets" not in notebook.metadata
