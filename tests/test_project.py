"""What is installed, and that all places that speak of it agree."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from lessons import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {"cpu": "requirements.lock", "gpu": "requirements-gpu.lock"}


def locked(lock):
    """{name: versions} of a lock file."""
    found = {}
    for line in (ROOT / lock).read_text().splitlines():
        if match := re.match(r"([a-z0-9-]+)(?:\[[a-z-]+\])?==(\S+)", line):
            found.setdefault(match[1], set()).add(Version(match[2]))
    return found


@pytest.mark.parametrize("extra", LOCKS)
def test_a_lock_satisfies_all_that_pyproject_asks_for(extra):
    project = PROJECT["project"]
    wanted = project["dependencies"] + project["optional-dependencies"][extra] + PROJECT["dependency-groups"]["dev"]
    versions = locked(LOCKS[extra])
    for requirement in map(Requirement, wanted):
        assert requirement.name in versions, requirement
        assert all(version in requirement.specifier for version in versions[requirement.name]), requirement


@pytest.mark.parametrize("lock", LOCKS.values())
def test_a_lock_holds_hashes_and_no_address(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.M)  # no option of pip, such as an index
    entries = re.split(r"^(?=[a-z])", text, flags=re.M)[1:]
    assert len(entries) > 100
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_locks_differ_in_tensorflow_only():
    cpu, gpu = (locked(lock) for lock in LOCKS.values())
    assert all(gpu[name] == versions for name, versions in cpu.items() if name in gpu)
    assert set(cpu) - set(gpu) <= {"tensorflow-cpu"}
    assert all(name.startswith("nvidia-") for name in set(gpu) - set(cpu))
    assert "tensorflow-cpu" not in gpu


def test_the_package_is_built_from_the_lock_alone():
    assert {"hatchling", "editables"} <= set(locked("requirements.lock"))
    installs = [line for line in make("-n", "install", "READY=never").stdout.splitlines() if "pip install" in line]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)  # nothing unpinned
    assert all("--no-build-isolation" in line for line in installs[1:])  # nor to build with


def test_the_build_lock_holds_setuptools_alone():
    extract = re.search(r"sed -n '(.*?)' (\S+) >", make("-n", "install", "READY=never").stdout)
    done = subprocess.run(["sed", "-n", extract[1], ROOT / extract[2]], capture_output=True, text=True, check=True)
    assert re.findall(r"^\S+==", done.stdout, re.M) == ["setuptools=="]
    assert done.stdout.count("--hash=sha256:") >= 2


def test_tensorflow_comes_with_an_extra_only():
    """A machine that brings its own TensorFlow, such as Colab, keeps it."""
    assert not [d for d in PROJECT["project"]["dependencies"] if re.match(r"tensorflow(?!-datasets)", d)]


def test_conda_brings_python_and_make_and_nothing_that_the_lock_holds():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, *rest = environment["dependencies"]
    assert python.split(" ", 1) == ["python", PROJECT["project"]["requires-python"]]
    assert rest == ["pip", "make"]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_ci_tests_every_python_that_is_promised(python):
    promised = SpecifierSet(PROJECT["project"]["requires-python"])
    assert f"{python}.0" in promised
    assert not list(promised.filter(["3.10.99", "3.14.0"]))
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert python in ci["jobs"]["test"]["strategy"]["matrix"]["python"]


def test_every_command_of_the_readme_exists():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    told = set(re.findall(r"\bmake ([a-z]+)", readme))
    assert {"lessons", "test"} <= told <= targets


def make(*words):
    return subprocess.run(["make", "-C", ROOT, *words], capture_output=True, text=True)


def test_make_says_what_it_knows():
    done = make("help")
    for target in ("lessons", "test", "lab", "render", "bench", "lock"):
        assert f"make {target} " in done.stdout


def test_a_second_call_installs_nothing():
    assert "pip install" in make("-n", "install", "READY=never").stdout  # what an install looks like
    assert "pip install" not in make("-n", "lessons", "test").stdout


def test_make_refuses_an_unknown_extra_before_installing_anything():
    done = make("lessons", "EXTRA=tpu")
    assert done.returncode
    assert "EXTRA must be cpu or gpu, received tpu" in done.stdout + done.stderr


def test_make_refuses_a_python_that_is_too_new_or_too_old(tmp_path):
    old = tmp_path / "python3"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10, 4)\n$2"\n')
    old.chmod(0o755)
    done = make(f"PYTHON={old}", "READY=never", "never")
    assert done.returncode
    assert "Python 3.11, 3.12 or 3.13 is needed, this is 3.10" in done.stderr
