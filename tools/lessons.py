"""`make lessons` runs the course in a copy and shows it as pages; `make render` also refreshes the committed notebooks.

A lesson's source is notebooks/NN_name.py. It is run by nbmake, each lesson in a process of its own, so that its time and
peak memory can be measured and one that crashes takes no other with it. The machine is measured first, to say how long all
will take on it; the page shows all lessons from the start, as they were committed, and each as it ran here once it has. The
environment chooses what is run and how: LESSONS=01,02 (default: all), LESSONS_PROFILE=smoke|slow|cpu|gpu (default: what fits
the machine).
"""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jupytext
import nbformat

from pages import finished_first, title_of, write, write_index, write_page

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build" / "lessons"
# {lesson: {profile: {"minutes": ..., "memory_gb": ..., "gflops": the machine's speed at that time}}}
MEASURED = NOTEBOOKS / "measured.json"

WIDGET = "application/vnd.jupyter.widget-view+json"
MARKED = re.compile(r"(<!-- measured -->).*?(<!-- /measured -->)", re.S)
ASK = "import json; from lessons_lib import profile; print(json.dumps([profile.name(), profile.speed(), profile.REFERENCE]))"


def main(command):
    """Run the chosen lessons; the exit status."""
    lessons, here = chosen_lessons(os.environ.get("LESSONS", "")), machine()
    known = json.loads(MEASURED.read_text("utf-8")) if MEASURED.exists() else {}
    plan = {lesson: profiles_to_render(lesson) if command == "render" else [here.profile] for lesson in lessons}
    notices = [notice for lesson in lessons if (notice := edited(lesson))]
    if notices and command == "render":
        sys.exit("\n".join([*notices, "Nothing was rendered, as that would overwrite it."]))
    print(*notices, sep="\n", end="\n" * bool(notices))
    expected = {(lesson, profile): estimate(known, lesson, profile, here) for lesson in lessons for profile in plan[lesson]}
    print(preview(command, here, list(expected.values())), flush=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    cards = {lesson: write_page(BUILD, lesson, committed(lesson), "not run here yet") for lesson in lessons}
    page = write_index(BUILD, cards.values(), plan[lessons[0]][-1])
    print(f"Each lesson is shown as soon as it has run: {page}", flush=True)

    results = {}
    for number, lesson in enumerate(lessons, 1):
        fresh = {}
        for profile in plan[lesson]:
            minutes = expected[lesson, profile]
            words = "" if minutes is None else f", {about(minutes)} on this machine"
            print(f"[{number}/{len(lessons)}] {lesson}, profile {profile}{words}", flush=True)
            if command == "render":
                here = machine()  # again: what a shared machine gives changes within minutes
            copy = BUILD / f"{lesson}.ipynb"
            set_aside(copy, [copy])
            results[lesson] = result = run(lesson, profile)
            if command == "render" and result["fallback"]:
                result["error"] = "rendered with glyphs: committed outputs show MNIST (set TFDS_DATA_DIR)"
            if result["error"]:
                print(f"    FAILED {result['error']}", flush=True)
                break
            fresh[profile] = measured_of(result, here)
        if command == "render" and not result["error"]:
            known[lesson] = known.get(lesson, {}) | fresh
            tell(lesson, known[lesson])
            write(MEASURED, json.dumps(known, indent=2, sort_keys=True) + "\n")
        cards[lesson] = write_page(BUILD, lesson, nbformat.read(BUILD / f"{lesson}.ipynb", as_version=4), state_of(result))
        write_index(BUILD, cards.values(), profile)
    print(table(results))
    print(*notices, sep="\n", end="\n" * bool(notices))
    print(f"Look at it: {page}")
    return 1 if any(result["error"] for result in results.values()) else 0


class Machine(NamedTuple):
    """The profile for this machine, its speed and that of the README's minutes in GFLOP/s, and a line on why, or nothing."""

    profile: str
    gflops: float
    reference: float
    why: str = ""


def machine():
    """This machine, measured by the library in a process of its own, as that has to start TensorFlow."""
    answer = subprocess.run([sys.executable, "-c", ASK], capture_output=True, encoding="utf-8")
    if answer.returncode:
        sys.exit(answer.stderr.strip().rpartition("\n")[2] or f"TensorFlow cannot be imported: exit {answer.returncode}")
    why, _, last = answer.stdout.strip().rpartition("\n")
    return Machine(*json.loads(last), why)


def estimate(known, lesson, profile, here):
    """Minutes that a lesson takes on the machine `here`, or None if nobody has timed it; `known` as in measured.json.

    The start of a lesson (imports, tracing) takes what the shortest smoke run took; the rest goes with the machine's speed.
    """
    timed = known.get(lesson, {})
    then = timed.get(profile) or (timed.get("cpu") if profile == "slow" else None)  # most lessons have one size for both
    if then is None:
        return None
    start = min([then["minutes"], *(one["smoke"]["minutes"] for one in known.values() if "smoke" in one)])
    return start + (then["minutes"] - start) * then.get("gflops", here.reference) / here.gflops


def about(minutes):
    """Minutes in words, rounded as an estimate is."""
    if minutes < 1.5:
        return "about a minute"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {round(minutes / 60, 1):g} hours"


def preview(command, here, expected):
    """What is said before anything runs: how fast this machine is, how long all of it takes here, and how to take less.

    expected: minutes of each run, None where nobody knows.
    """
    timed = [minutes for minutes in expected if minutes is not None]
    new = len(expected) - len(timed)
    words = f"All of it takes {about(sum(timed))} here" if timed else "Nobody has timed this yet"
    words += f", without the {new} of {len(expected)} that nobody has timed yet" * bool(timed and new)
    less = ["LESSONS=01,02 (some lessons)"] * (len(expected) > 1)
    less += ["LESSONS_PROFILE=smoke (small sizes)"] * (here.profile != "smoke")
    if command == "run" and less:
        words += f". To take less: make lessons {' or '.join(less)}"
    speeds = f"This machine trains convolutions at {here.gflops:.0f} GFLOP/s; the README's minutes are of {here.reference:.0f}."
    return f"{here.why if here.why and command == 'run' else speeds}\n{words}."


def measured_of(result, here):
    """What measured.json keeps of a run."""
    return {"minutes": result["minutes"], "memory_gb": result["memory_gb"], "gflops": round(here.gflops, 1)}


def state_of(result):
    """What a lesson's card says of a run."""
    return f"failed {result['error']}" if result["error"] else f"{result['minutes']:.1f} minutes"


def profiles_to_render(lesson):
    """What a rendering runs, the smallest first, as what fails should fail early; `slow` only where it is a size of its own."""
    return ["smoke", "slow", "cpu"] if "slow=" in (NOTEBOOKS / f"{lesson}.py").read_text("utf-8") else ["smoke", "cpu"]


def committed(lesson):
    """The lesson as the course brings it: rendered, or, if it never was, its source."""
    path = NOTEBOOKS / f"{lesson}.ipynb"
    return nbformat.read(path, as_version=4) if path.exists() else to_notebook(lesson)


def chosen_lessons(wanted):
    """The lessons whose numbers or names begin with one of `wanted`, comma-separated; all without a word."""
    every = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py"))
    starts = tuple(word.strip() for word in wanted.split(",") if word.strip())
    lessons = [lesson for lesson in every if lesson.startswith(starts)] if starts else every
    if not lessons or any(not any(lesson.startswith(start) for lesson in every) for start in starts):
        sys.exit(f"LESSONS: expected some of {', '.join(every)}; received {wanted!r}")
    return lessons


def verbs_of(notebook):
    """What "You will" promises, a verb each."""
    return re.findall(r"^- \*\*(\w+)\*\*", notebook.cells[1].source, re.MULTILINE)


def to_notebook(lesson):
    """The lesson's source as a notebook."""
    return identified(jupytext.read(NOTEBOOKS / f"{lesson}.py"))


def identified(notebook):
    """The same with cell ids that depend on content alone: a re-render changes little, and what was typed later is seen."""
    used = {}
    for cell in notebook.cells:
        digest = digest_of(cell)
        used[digest] = used.get(digest, 0) + 1
        cell["id"] = digest if used[digest] == 1 else f"{digest}-{used[digest]}"
    return notebook


def digest_of(cell):
    """What a cell's id begins with, unless somebody has typed in it."""
    return hashlib.sha256(cell.source.encode()).hexdigest()[:8]


def typed(path, source=()):
    """The cells that somebody typed into a notebook which these tools wrote, and which are not in `source`, another's cells."""
    if not path.exists():
        return []
    there = {"", *(cell.source for cell in source)}
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if not cell.get("id", "").startswith(digest_of(cell)) and cell.source not in there]


def edited(lesson):
    """What is to be said of a committed notebook that somebody has edited outside of its pair, else nothing."""
    path = NOTEBOOKS / f"{lesson}.ipynb"
    cells = typed(path, to_notebook(lesson).cells)
    if not cells:
        return ""
    first = cells[0].source.strip().partition("\n")[0]
    return (
        f"notebooks/{path.name} was edited (`{first:.60}`), but what runs is its source, notebooks/{lesson}.py, without it.\n"
        f"  To take the edits over: .venv/bin/jupytext --to py:percent notebooks/{path.name}\n"
        f"  To drop them: git checkout notebooks/{path.name}"
    )


def set_aside(path, typed_in):
    """Rename what is about to be written anew, if somebody has typed in one of these notebooks; says so."""
    if any(typed(notebook) for notebook in typed_in):
        numbers = (f"{path.stem}.edited{n or ''}{path.suffix}" for n in itertools.count())
        aside = next(one for name in numbers if not (one := path.with_name(name)).exists())
        path.rename(aside)
        print(f"{path.name} was edited: it is kept as {aside}", flush=True)


def run(lesson, profile):
    """Execute one lesson in the build folder: its minutes, peak memory and, if it failed, cell and error."""
    copy, log = BUILD / f"{lesson}.ipynb", BUILD / f"{lesson}.log"
    nbformat.write(to_notebook(lesson), copy)
    environment = os.environ | {"LESSONS_PROFILE": profile}
    pytest = [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "--rootdir", BUILD, "-p", "no:cacheprovider", copy]
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(pytest, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=BUILD)
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            if sys.stdout.isatty():
                print(f"\r    {time.monotonic() - start:.0f} s ", end="", flush=True)
            time.sleep(0.5)
    _, status, usage = ended
    if sys.stdout.isatty():
        print("\r", end="")
    process.returncode = os.waitstatus_to_exitcode(status)

    notebook = nbformat.read(copy, as_version=4)
    clean(notebook)
    nbformat.write(notebook, copy)
    return {
        "minutes": round((time.monotonic() - start) / 60, 2),
        "memory_gb": round(usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20), 1),
        "error": failure(notebook) or (process.returncode and f"the kernel died (out of memory?); see {log}") or "",
        "fallback": any("built-in glyphs" in output.get("text", "") for output in outputs(notebook)),
    }


def tell(lesson, measured):
    """Commit a lesson's outputs and write what was measured where readers look: in the lesson itself and in the README."""
    source, readme = NOTEBOOKS / f"{lesson}.py", ROOT / "README.md"
    notebook = nbformat.read(BUILD / f"{lesson}.ipynb", as_version=4)
    ran, now = ([MARKED.sub("", cell.source) for cell in one.cells] for one in (notebook, to_notebook(lesson)))
    if ran != now:
        sys.exit(f"{source.name} changed while it ran; render it again")
    write(source, MARKED.sub(lambda found: found[1] + words_of(measured) + found[2], source.read_text("utf-8")))

    for cell, fresh in zip(notebook.cells, to_notebook(lesson).cells, strict=True):
        cell.source, cell.id = fresh.source, fresh.id
    write(NOTEBOOKS / f"{lesson}.ipynb", nbformat.writes(notebook) + "\n")
    for film in (BUILD / "output").glob("*.gif"):  # the README shows some
        if film.name in source.read_text("utf-8"):  # and is this lesson's, not one from another day
            (ROOT / "docs" / film.name).write_bytes(finished_first(film.read_bytes()))

    text = readme.read_text("utf-8")
    old = re.compile(rf"^\| \[.*\(notebooks/{lesson}\.ipynb\).*$", re.M)
    if not old.search(text):
        sys.exit(f"README.md: expected a row of the lesson table that links to notebooks/{lesson}.ipynb; found none")
    write(readme, old.sub(lambda _: row_of(lesson, measured), text))


def words_of(measured):
    """How long a lesson takes and how much memory, as the lesson tells it."""
    cpu = measured["cpu"]
    minutes = max(1, round(cpu["minutes"]))
    return f"about {minutes} minute{'s'[: minutes != 1]} on two CPU cores and {cpu['memory_gb']} GB of memory"


def row_of(lesson, measured):
    """A lesson's row in the README's table."""
    notebook = to_notebook(lesson)
    title, verbs = title_of(notebook), ", ".join(verbs_of(notebook))
    minutes = [f"{measured[profile]['minutes']:.1f}" if profile in measured else "?" for profile in ("smoke", "cpu", "gpu")]
    return f"| [{title}](notebooks/{lesson}.ipynb) | {verbs} | {' | '.join(minutes)} | {measured['cpu']['memory_gb']} GB |"


def clean(notebook):
    """Drop what differs from run to run, and widgets, which do nothing without a kernel."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    notebook.metadata.pop("widgets", None)


def outputs(notebook):
    """All outputs of a notebook, in order."""
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def failure(notebook):
    """The first failing cell and its error in words, or nothing."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
                line = re.search(r"^-+> \d+ (.*)$", trace, re.M)  # the cell's own line comes first
                where = f" at `{line[1].strip()}`" if line else ""
                return f"in cell [{cell.execution_count}]{where}: {output.ename}: {output.evalue}".rstrip(": ")
    return ""


def table(results):
    """The lines that close a run."""
    rows = [("lesson", "result", "minutes", "peak memory")]
    for lesson, result in results.items():
        rows.append((lesson, "FAILED" if result["error"] else "passed", f"{result['minutes']:.1f}", f"{result['memory_gb']} GB"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
