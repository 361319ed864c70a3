"""Plant small faults in the library and see which of them its unit tests miss: `make mutants`, hours; MODULES="sampling metrics".

Cosmic Ray plants them (a plus for a minus, another number, another comparison, a loop that never runs), one at a time, in a
clone of what is committed, build/mutants, and runs the module's tests. Each function gets three of its possible faults by lot,
every week others. A run that was stopped goes on; a module that was changed, or its tests, begins afresh. (mutmut wraps
functions, so that Keras cannot read a layer's constructor any more.)
"""

import argparse
import ast
import difflib
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import pytest
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

FOLDER = Path("build/mutants")
TESTS = {"prepared": "data"}  # where a module's tests are not in the file of its name
EACH = 3  # faults of a function
PROCESSES = multiprocessing.get_context("forkserver")  # forked where nothing has run yet: TensorFlow's threads do not survive it
PROCESSES.set_forkserver_preload(["tensorflow", "keras", "tensorflow_datasets", "hypothesis", "matplotlib.pyplot", "pytest"])
# Operators of bits and of whole numbers: with floats they raise, and any test sees that. A decorator's loss shows on import.
DULL = re.compile(r"_(BitOr|BitAnd|BitXor|LShift|RShift|FloorDiv|Mod|Pow)$|RemoveDecorator|ExceptionReplacer")


def main(arguments=None):
    """Plant what is left to plant, and list the survivors."""
    options = parsed(arguments)
    course = FOLDER / "course"
    shutil.rmtree(course, ignore_errors=True)  # a stopped run leaves its last fault
    subprocess.run(["git", "clone", "--quiet", ".", course], check=True)
    os.chdir(course)
    sys.path.insert(0, os.getcwd())  # before the editable install of this folder
    os.environ |= {"PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    total, survivors = Counter(), []
    for module in options.modules or modules():
        content = hashlib.sha256(source(module).read_bytes() + tests(module).read_bytes()).hexdigest()[:8]
        session = WorkDB(f"../{module}-{options.seed}-{content}.sqlite", WorkDB.Mode.create)
        if not session.num_work_items:
            choose(session, module, options.seed)
        run(session, module)
        results = dict(session.results)
        total.update(str(result.test_outcome.value) for result in results.values())
        survivors += [result.diff for result in results.values() if not result.is_killed]
        session.close()
    print("\n".join(survivors))
    told = ", ".join(f"{number} {name}" for name, number in total.items())
    print(f"\n{total.total()} faults (seed {options.seed}): {told}")


def parsed(arguments):
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", help="of lessons_lib (all)")
    year, week, _ = date.today().isocalendar()
    parser.add_argument("--seed", type=int, default=100 * year + week, help="of the lot (this week's)")
    return parser.parse_args(arguments)


def modules():
    """Those with a file of tests."""
    library = Path("lessons_lib")
    names = [path.stem for path in library.glob("*.py")] + [path.parent.name for path in library.glob("*/__init__.py")]
    return [name for name in sorted(names) if tests(name).exists()]


def source(module):
    """Where a module is, or a package's own code."""
    path = Path(f"lessons_lib/{module}.py")
    return path if path.exists() else path.with_suffix("") / "__init__.py"


def tests(module):
    """The file of a module's tests."""
    return Path(f"tests/test_{TESTS.get(module, module)}.py")


def choose(session, module, seed):
    """Fill a session with some of the possible faults of each function."""
    init([source(module)], session, {})
    within, possible = functions(source(module)), defaultdict(list)
    for item in sorted(session.work_items, key=lambda item: (item.mutations[0].start_pos, item.mutations[0].operator_name)):
        name = within.get(item.mutations[0].start_pos[0])
        if name and not DULL.search(item.mutations[0].operator_name):
            possible[name].append(item)
    lot = random.Random(seed)
    session.clear()
    session.add_work_items(one for items in possible.values() for one in lot.sample(items, min(EACH, len(items))))


def functions(path):
    """{line: the function or method that it is of}."""
    lines = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        for one in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(one, ast.FunctionDef):
                name = one.name if one is node else f"{node.name}.{one.name}"
                lines |= dict.fromkeys(range(one.lineno, one.end_lineno + 1), name)
    return lines


def run(session, module):
    """Test the faults that are left of a session."""
    left = list(session.pending_work_items)
    start = time.monotonic()
    if left and not passes(module):
        sys.exit(f"{tests(module)} fails without a fault")
    limit = 60 + 5 * (time.monotonic() - start)
    for number, item in enumerate(left, 1):
        (fault,) = item.mutations
        with use_mutation(fault.module_path, get_operator(fault.operator_name)(**fault.operator_args), fault.occurrence) as codes:
            outcome = TestOutcome.SURVIVED if passes(module, limit) else TestOutcome.KILLED
        diff = "\n".join(difflib.unified_diff(*(code.split("\n") for code in codes), *2 * [str(fault.module_path)], lineterm=""))
        session.set_result(item.job_id, WorkResult(WorkerOutcome.NORMAL, test_outcome=outcome, diff=diff))
        place = f"{module}:{fault.start_pos[0]} {fault.operator_name.partition('/')[2]}"
        print(f"{time.strftime('%H:%M')} {number}/{len(left)} {place}: {outcome.value}", flush=True)


def passes(module, limit=None):
    """Whether a module's tests pass within so many seconds, in a process of their own."""
    process = PROCESSES.Process(target=test, args=(str(tests(module)),))
    process.start()
    process.join(limit)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def test(path):
    """Run a file of tests up to the first that fails."""
    os.setsid()  # what it starts can be killed with it
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", path]))


if __name__ == "__main__":
    main()
