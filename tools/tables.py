"""The expensive numbers of a lesson, cell by cell, into lessons_lib/results: `make tables LESSONS=08` (else all lessons').

A lesson's cells are those of tools/tables_NN.py. A cell holds what was measured and how: its settings, the SHA-256 of the
packaged weights it was measured with, code, date and seconds. It is saved when it is known, so that a second call goes on where
the first one stopped; a cell whose settings or weights have changed is measured again.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

from lessons_lib import training, weights

TOOLS = Path(__file__).parent


class Cell(NamedTuple):
    """What is to be measured: its name, settings (a dict for JSON), packaged weights by name, and a call that gives numbers."""

    name: str
    settings: dict
    weights: tuple
    measure: Callable[[], dict]


def main(lesson, cells=None, folder=weights.RESULTS):
    """Measure what is missing or no longer holds; gives {name: what is known of the cell}."""
    path = Path(folder) / f"{lesson}.json"
    cells = list(importlib.import_module(f"tables_{lesson}").cells() if cells is None else cells)
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    table = {cell.name: known[cell.name] for cell in cells if cell.name in known}

    def save():
        training.write_json(path, {cell.name: table[cell.name] for cell in cells if cell.name in table})  # in the cells' order

    for number, cell in enumerate(cells, 1):
        made = {"settings": cell.settings, "weights": {name: weights.read(name)["sha256"] for name in cell.weights}}
        made = json.loads(json.dumps(made))
        if {key: table.get(cell.name, {}).get(key) for key in made} == made:
            continue
        start = time.monotonic()
        numbers = cell.measure()
        seconds = round(time.monotonic() - start, 1)
        made |= {"seconds": seconds, "date": date.today().isoformat(), "code": code()}
        if taken := sorted(numbers.keys() & made):
            raise ValueError(f"{cell.name}: expected numbers by other names than a cell's own; received {', '.join(taken)}")
        table[cell.name] = numbers | made
        save()
        print(f"{time.strftime('%H:%M')} [{number}/{len(cells)}] {cell.name}: {numbers}", flush=True)
    if list(known) != [cell.name for cell in cells]:
        save()  # others are asked for now, or in another order
    return table


def code():
    """The commit that measures."""
    describe = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, encoding="utf-8", check=False)
    return describe.stdout.strip() or "unknown"


def rounded(estimate):
    """A `metrics.Estimate` to four digits, as JSON has it."""
    return {name: float(f"{value:.4g}") for name, value in estimate._asdict().items()}


def flat(parts):
    """Several of them, {name: Estimate}, as {name_value: ..., name_error: ...}."""
    return {f"{name}_{key}": value for name, one in parts.items() for key, value in rounded(one).items()}


def chosen(wanted):
    """The lessons that have such cells, or those of them that begin with one of `wanted`, comma-separated."""
    every = sorted(path.stem.removeprefix("tables_") for path in TOOLS.glob("tables_[0-9]*.py"))
    asked = [word.strip()[:2] for word in wanted.split(",") if word.strip()]
    if not set(asked) <= set(every):
        sys.exit(f"LESSONS: expected some of {', '.join(every)}, which have tables; received {wanted!r}")
    return asked or every


if __name__ == "__main__":
    for one in chosen(os.environ.get("LESSONS", "")):
        main(one)
