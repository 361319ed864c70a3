"""`make lessons` runs the course in a copy and shows it as pages; `make render` also refreshes the committed notebooks.

A lesson's source is notebooks/NN_name.py. It is run by nbmake, each lesson in a process of its own, so that its time and
peak memory can be measured and one that crashes takes no other with it. The environment chooses what is run and how:
LESSONS=01,02 (default: all), LESSONS_PROFILE=smoke|cpu|gpu (default: what fits the machine).
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat

from pages import title_of, write_pages

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build" / "lessons"
MEASURED = NOTEBOOKS / "measured.json"  # {lesson: {profile: {"minutes": ..., "memory_gb": ...}}}

WIDGET = "application/vnd.jupyter.widget-view+json"
MARKED = re.compile(r"(<!-- measured -->).*?(<!-- /measured -->)", re.S)


def main(command):
    """Run the chosen lessons; the exit status."""
    lessons = chosen_lessons(os.environ.get("LESSONS", ""))
    profiles = ["smoke", "cpu"] if command == "render" else [chosen_profile()]  # what fails, fails early
    known = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    results = {}
    for number, lesson in enumerate(lessons, 1):
        for profile in profiles:
            expected = known.get(lesson, {}).get(profile)
            about = f", about {expected['minutes']:.1f} minutes" if expected else ""
            print(f"[{number}/{len(lessons)}] {lesson}, profile {profile}{about}", flush=True)
            results[lesson] = result = run(lesson, profile)
            if command == "render" and result["fallback"]:
                result["error"] = "rendered with glyphs: committed outputs show MNIST (set TFDS_DATA_DIR)"
            if result["error"]:
                print(f"    FAILED {result['error']}", flush=True)
                break
            known.setdefault(lesson, {})[profile] = {"minutes": result["minutes"], "memory_gb": result["memory_gb"]}
        if command == "render" and not result["error"]:
            tell(lesson, known[lesson])
            write(MEASURED, json.dumps(known, indent=2, sort_keys=True) + "\n")
    page = write_pages(BUILD, results, profile)
    print(table(results))
    print(f"Look at it: {page}")
    return 1 if any(result["error"] for result in results.values()) else 0


def chosen_lessons(wanted):
    """The lessons whose numbers or names begin with one of `wanted`, comma-separated; all without a word."""
    every = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py"))
    starts = tuple(word.strip() for word in wanted.split(",") if word.strip())
    lessons = [lesson for lesson in every if lesson.startswith(starts)] if starts else every
    if not lessons or any(not any(lesson.startswith(start) for lesson in every) for start in starts):
        sys.exit(f"LESSONS: expected some of {', '.join(every)}; received {wanted!r}")
    return lessons


def chosen_profile():
    """Asked of the library, in a process of its own, as it may have to start TensorFlow."""
    ask = "from lessons_lib import profile; print(profile.name())"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    if answer.returncode:
        sys.exit(answer.stderr.strip().rpartition("\n")[2] or f"TensorFlow cannot be imported: exit {answer.returncode}")
    return answer.stdout.strip()


def verbs_of(notebook):
    """What "You will" promises, a verb each."""
    return re.findall(r"^- \*\*(\w+)\*\*", notebook.cells[1].source, re.MULTILINE)


def to_notebook(lesson):
    """The lesson's source as a notebook whose cell ids depend on content alone, so that a re-render changes little."""
    notebook = jupytext.read(NOTEBOOKS / f"{lesson}.py")
    used = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        used[digest] = used.get(digest, 0) + 1
        cell["id"] = digest if used[digest] == 1 else f"{digest}-{used[digest]}"
    return notebook


def run(lesson, profile):
    """Execute one lesson in the build folder: its minutes, peak memory and, if it failed, cell and error."""
    BUILD.mkdir(parents=True, exist_ok=True)
    copy, log = BUILD / f"{lesson}.ipynb", BUILD / f"{lesson}.log"
    nbformat.write(to_notebook(lesson), copy)
    environment = os.environ | {"LESSONS_PROFILE": profile}
    pytest = [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "--rootdir", BUILD, "-p", "no:cacheprovider", copy]
    start = time.monotonic()
    with log.open("w") as output:
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
    write(source, MARKED.sub(lambda found: found[1] + words_of(measured) + found[2], source.read_text()))

    for cell, fresh in zip(notebook.cells, to_notebook(lesson).cells, strict=True):
        cell.source, cell.id = fresh.source, fresh.id
    write(NOTEBOOKS / f"{lesson}.ipynb", nbformat.writes(notebook) + "\n")
    for film in (BUILD / "output").glob("*.gif"):  # the README shows some
        if film.name in source.read_text():  # and is this lesson's, not one from another day
            shutil.copy(film, ROOT / "docs")

    text = readme.read_text()
    old = re.compile(rf"^\| \[.*\(notebooks/{lesson}\.ipynb\).*$", re.M)
    if not old.search(text):
        sys.exit(f"README.md: expected a row of the lesson table that links to notebooks/{lesson}.ipynb; found none")
    write(readme, old.sub(lambda _: row_of(lesson, measured), text))


def write(path, text):
    """Replace a file's text; a full disk harms nothing that was there."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_text(text)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


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
