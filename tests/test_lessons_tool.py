"""`make lessons` on two small lessons of our own, one of which fails."""

import base64
import json
import resource

import imageio.v3 as iio
import jupytext
import nbformat
import numpy as np
import pytest

import lessons as tool
import pages
from lessons_lib import profile

HERE = tool.Machine("smoke", 50.0, 100.0)  # half as fast as where the minutes were measured
machine = tool.machine
COMMITTED, RAN = (
    base64.b64encode(iio.imwrite("<bytes>", np.full((1, 1), i, np.uint8), extension=".png")).decode() for i in (0, 255)
)

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
    """A course of its own: notebooks, README and docs in a temporary folder, on a machine that need not be measured."""
    monkeypatch.setattr(tool, "machine", lambda: HERE)
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
    assert all(set(one) == {"minutes", "memory_gb", "gflops"} and one["gflops"] == 50.0 for one in measured.values())
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


def type_into(path, words="print('mine')"):
    """As an editor does that knows nothing of pairs."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += f"\n{words}"
    nbformat.write(notebook, path)


def test_an_edited_notebook_is_said_not_to_be_what_runs_and_is_not_overwritten(course, monkeypatch, watched, capsys):
    notebook = course / "notebooks" / "01_line.ipynb"
    monkeypatch.setenv("LESSONS", "01")
    assert tool.main("render") == 0
    assert "was edited" not in capsys.readouterr().out
    type_into(notebook)
    before = notebook.read_bytes()
    tool.main("run")
    said = watched[-1][0] + capsys.readouterr().out  # before it ran, and after
    words = "notebooks/01_line.ipynb was edited (`import imageio.v3 as iio`), but what runs is its source, notebooks/01_line.py"
    assert said.count(words) == 2  # first and last
    assert "jupytext --to py:percent notebooks/01_line.ipynb" in said
    with pytest.raises(SystemExit, match=r"01_line.ipynb was edited .*\n.*\n.*\nNothing was rendered"):
        tool.main("render")
    assert notebook.read_bytes() == before

    jupytext.write(nbformat.read(notebook, as_version=4), course / "notebooks" / "01_line.py", fmt="py:percent")  # as is advised
    assert tool.edited("01_line") == ""
    assert "print('mine')" in (course / "notebooks" / "01_line.py").read_text()


def test_what_was_typed_into_the_copy_is_kept(course, monkeypatch, watched):
    monkeypatch.setenv("LESSONS", "01")
    copies = course / "build" / "lessons"
    for words in (None, "1", "2"):
        if words:
            type_into(copies / "01_line.ipynb", words)
        assert tool.main("run") == 0
        assert ("01_line.ipynb was edited: it is kept as" in watched[-1][0]) == bool(words)
    assert sorted(path.name for path in copies.glob("*.ipynb")) == [
        "01_line.edited.ipynb",
        "01_line.edited1.ipynb",
        "01_line.ipynb",
    ]
    for words, name in (("1", "01_line.edited.ipynb"), ("2", "01_line.edited1.ipynb")):
        assert nbformat.read(copies / name, as_version=4).cells[-1].source.endswith(words)


def test_a_failing_lesson_is_not_committed(course, monkeypatch):
    monkeypatch.setenv("LESSONS", "02")
    assert tool.main("render") == 1
    assert not list((course / "notebooks").glob("*.ipynb"))
    assert not (course / "notebooks/measured.json").exists()


def test_what_was_measured_of_a_failing_lesson_is_not_committed_with_the_next(course):
    """It passes in its small size and fails in the other."""
    small = "import os\n\nassert os.environ['LESSONS_PROFILE'] == 'smoke'\n"
    (course / "notebooks" / "00_large.py").write_text(f"# %% [markdown]\n# # 00. Grow\n\n# %%\n{small}")
    (course / "notebooks" / "02_fail.py").unlink()
    assert tool.main("render") == 1
    assert json.loads((course / "notebooks/measured.json").read_text()).keys() == {"01_line"}


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
    monkeypatch.setattr(tool, "machine", machine)
    monkeypatch.setenv("LESSONS_PROFILE", "fast")
    with pytest.raises(SystemExit, match="LESSONS_PROFILE: expected one of smoke, slow, cpu, gpu; received 'fast'"):
        tool.main("run")


def test_a_lesson_without_a_row_in_the_readme_is_refused(course):
    (course / "README.md").write_text("no table\n")
    (course / "build/lessons").mkdir(parents=True)
    nbformat.write(tool.to_notebook("01_line"), course / "build/lessons/01_line.ipynb")
    with pytest.raises(SystemExit, match="expected a row of the lesson table"):
        tool.tell("01_line", {"cpu": {"minutes": 1, "memory_gb": 1}})


# ---- how long it will take, and what there is to see meanwhile


TABLE = {
    "01_line": {"smoke": {"minutes": 0.3, "memory_gb": 1}, "cpu": {"minutes": 4.3, "memory_gb": 1, "gflops": 200.0}},
    "02_fail": {"smoke": {"minutes": 0.5, "memory_gb": 1}, "cpu": {"minutes": 0.4, "memory_gb": 1}},
    "03_slow": {"cpu": {"minutes": 8.3, "memory_gb": 1}, "slow": {"minutes": 3.3, "memory_gb": 1}},
}


@pytest.mark.parametrize(
    ("lesson", "profile", "gflops", "minutes"),
    [
        ("01_line", "cpu", 50.0, 0.3 + 4 * 4.0),  # a start of 0.3 minutes, and the rest goes with the speed
        ("01_line", "cpu", 200.0, 4.3),
        ("01_line", "cpu", 400.0, 0.3 + 4 / 2.0),
        ("02_fail", "cpu", 50.0, 0.3 + 2 * 0.1),  # measured nobody knows how fast: taken for the reference
        ("01_line", "smoke", 1.0, 0.3),  # nothing but start
        ("03_slow", "slow", 50.0, 0.3 + 2 * 3.0),
        ("01_line", "slow", 50.0, 0.3 + 4 * 4.0),  # the same size as in `cpu`
        ("01_line", "gpu", 50.0, None),
        ("04_new", "cpu", 50.0, None),
    ],
)
def test_minutes_are_estimated_from_the_table_and_the_speed(lesson, profile, gflops, minutes):
    estimated = tool.estimate(TABLE, lesson, profile, tool.Machine(profile, gflops, 100.0))
    assert estimated == (minutes if minutes is None else pytest.approx(minutes))


def test_without_a_smoke_run_all_goes_with_the_speed():
    table = {"01_line": {"cpu": {"minutes": 4.0, "gflops": 100.0}}}
    assert tool.estimate(table, "01_line", "cpu", HERE) == pytest.approx(4.0)  # the shortest run that is known is this one


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (0.1, "about a minute"),
        (1.4, "about a minute"),
        (1.6, "about 2 minutes"),
        (8.6, "about 9 minutes"),
        (75.0, "about 75 minutes"),
        (119.0, "about 2 hours"),
        (150.0, "about 2.5 hours"),
    ],
)
def test_minutes_are_told_as_roughly_as_they_are_known(minutes, words):
    assert tool.about(minutes) == words


def test_the_machine_is_measured_by_the_library_and_what_that_says_is_passed_on(monkeypatch):
    monkeypatch.delenv("LESSONS_PROFILE")
    monkeypatch.setattr(tool, "ASK", "from lessons_lib import profile; profile.speed = lambda: 1.5; " + tool.ASK)
    here = machine()
    assert here[:3] == ("slow", 1.5, profile.REFERENCE)
    assert here.why.startswith("Profile slow")


def test_what_is_said_before_anything_runs(course):
    slow = tool.Machine("slow", 30.4, 120.0, "Profile slow, as this machine is.")
    said = tool.preview("run", slow, [30.0, 45.3]).splitlines()
    assert said == [
        "Profile slow, as this machine is.",
        "All of it takes about 75 minutes here. To take less: make lessons LESSONS=01,02 (some lessons) or "
        "LESSONS_PROFILE=smoke (small sizes).",
    ]
    assert tool.preview("run", HERE, [0.3]).splitlines()[1:] == ["All of it takes about a minute here."]  # it cannot be less
    assert "here, without the 1 of 3 that nobody has timed yet. To" in tool.preview("run", slow, [3.0, None, 2.0])
    assert "Nobody has timed this yet. To take" in tool.preview("run", slow, [None])
    assert tool.preview("render", slow, [3.0, None]).splitlines() == [
        "This machine trains convolutions at 30 GFLOP/s; the README's minutes are of 120.",
        "All of it takes about 3 minutes here, without the 1 of 2 that nobody has timed yet.",
    ]


@pytest.fixture
def watched(course, monkeypatch, capsys):
    """Two lessons that pass at once, the first of them committed; what was said and what the index showed when each began."""
    (course / "notebooks/measured.json").write_text(json.dumps(TABLE))
    old = tool.to_notebook("01_line")
    old.cells[2].outputs = [nbformat.v4.new_output("display_data", {"image/png": COMMITTED})]
    nbformat.write(old, course / "notebooks/01_line.ipynb")
    began, index = [], course / "build/lessons/index.html"

    def run(lesson, profile):
        began.append((capsys.readouterr().out, index.read_text(), (course / f"build/lessons/{lesson}.html").read_text()))
        ran = tool.to_notebook(lesson)
        ran.cells[-1].outputs = [nbformat.v4.new_output("display_data", {"image/png": RAN})]
        nbformat.write(ran, course / f"build/lessons/{lesson}.ipynb")
        return {"minutes": 7.0, "memory_gb": 1, "error": "", "fallback": False}

    monkeypatch.setattr(tool, "run", run)
    return began


def test_the_page_is_there_before_the_first_lesson_ends(watched, course):
    assert tool.main("run") == 0
    _, index, page = watched[0]
    assert index.count("not run here yet") == 2
    assert all(word in index for word in ("01. Draw a line", "02. Fail", 'href="01_line.html"', 'href="02_fail.html"'))
    assert COMMITTED in index
    assert COMMITTED in page
    assert '<span class="n">numbers</span>' in watched[1][2]  # a lesson that was never rendered is shown without outputs


def test_the_page_goes_with_the_lessons(watched, course, monkeypatch):
    converted = []
    monkeypatch.setattr(tool, "write_page", lambda *those: converted.append(those[1]) or pages.write_page(*those))
    assert tool.main("run") == 0
    assert converted == ["01_line", "02_fail", "01_line", "02_fail"]  # all, and then each as it has run
    index = watched[1][1]
    first, second = index.split('<a href="')[1:]
    assert "7.0 minutes" in first
    assert RAN in first
    assert "not run here yet" in second
    last = (course / "build/lessons/index.html").read_text()
    assert last.count("7.0 minutes") == 2
    assert COMMITTED not in last + (course / "build/lessons/01_line.html").read_text()


def test_time_and_page_are_told_first_and_each_lessons_time_as_it_begins(watched, course):
    assert tool.main("run") == 0
    before, between = (said.splitlines() for said, *_ in watched)
    assert before == [
        "This machine trains convolutions at 50 GFLOP/s; the README's minutes are of 100.",
        "All of it takes about a minute here. To take less: make lessons LESSONS=01,02 (some lessons).",
        f"Each lesson is shown as soon as it has run: {course}/build/lessons/index.html",
        "[1/2] 01_line, profile smoke, about a minute on this machine",
    ]
    assert between == ["[2/2] 02_fail, profile smoke, about a minute on this machine"]


def test_a_rendering_runs_the_slow_size_where_there_is_one(course, watched, capsys):
    source = GOOD.replace("eye(9,", "eye(choose(smoke=9, cpu=9, gpu=9, slow=8),")
    (course / "notebooks/01_line.py").write_text(source)
    assert tool.profiles_to_render("02_fail") == ["smoke", "cpu"]
    (course / "notebooks/02_fail.py").unlink()
    assert tool.main("render") == 0
    assert [said.splitlines()[-1].split(",")[1] for said, *_ in watched] == [" profile smoke", " profile slow", " profile cpu"]
    measured = json.loads((course / "notebooks/measured.json").read_text())["01_line"]
    assert measured == {key: {"minutes": 7.0, "memory_gb": 1, "gflops": 50.0} for key in ("smoke", "slow", "cpu")}


def test_a_rendering_measures_the_machine_before_each_run(course, watched, monkeypatch):
    """A shared machine is fast now and slow then."""
    monkeypatch.setenv("LESSONS", "01")
    speeds = iter([10.0, 20.0, 30.0])  # for the estimate, before the smoke run, before the other
    monkeypatch.setattr(tool, "machine", lambda: HERE._replace(gflops=next(speeds)))
    assert tool.main("render") == 0
    measured = json.loads((course / "notebooks/measured.json").read_text())["01_line"]
    assert (measured["smoke"]["gflops"], measured["cpu"]["gflops"]) == (20.0, 30.0)


@pytest.mark.parametrize("name", ["index", "01_line"])
def test_a_page_is_whole_at_all_times(course, name):
    """Its writing is interrupted by a full disk; whoever reads in that moment finds the page from before."""
    folder = course / "build/lessons"
    folder.mkdir(parents=True)

    def write(state):
        pages.write_index(folder, [pages.write_page(folder, "01_line", tool.to_notebook("01_line"), state)], "smoke")

    write("not run here yet")
    before = (folder / f"{name}.html").read_text()
    assert before.rstrip().endswith("</html>")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write("7.0 minutes") if name == "01_line" else pages.write_index(folder, ["another card"], "smoke")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / f"{name}.html").read_text() == before
    assert sorted(path.name for path in folder.iterdir()) == ["01_line.html", "index.html"]


def test_widgets_are_not_committed():
    """They need a kernel; their state would differ from run to run."""
    shown = nbformat.v4.new_output("display_data", {tool.WIDGET: {"model_id": "1"}, "text/plain": "interactive(...)"})
    told = nbformat.v4.new_output("stream", text="told")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[shown, told])], metadata={"widgets": {}})
    tool.clean(notebook)
    assert notebook.cells[0].outputs == [told]
    assert "widgets" not in notebook.metadata
