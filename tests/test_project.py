"""What is installed, and that all places that speak of it agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

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


def make(*words, folder=ROOT, **settings):
    environment = os.environ | settings
    return subprocess.run(["make", "-C", folder, *words], capture_output=True, text=True, env=environment)


def test_make_says_what_it_knows():
    done = make("help")
    for target in ("lessons", "test", "lab", "render", "bench", "lock"):
        assert f"make {target} " in done.stdout


def test_a_second_call_installs_nothing():
    assert "pip install" in make("-n", "install", "READY=never").stdout  # what an install looks like
    assert "pip install" not in make("-n", "lessons", "test").stdout


@pytest.fixture
def installed(tmp_path):
    """A folder with an environment as `make` leaves it, but without packages."""
    folder = tmp_path / "a course"
    (folder / "lessons_lib").mkdir(parents=True)
    (folder / "lessons_lib" / "__init__.py").touch()
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    venv.create(folder / ".venv", symlinks=True)
    (site,) = folder.glob(".venv/lib/python*/site-packages")
    (site / "ours.pth").write_text(str(folder))  # an editable install
    cksum = subprocess.run(["cksum"], stdin=(folder / "requirements.lock").open(), capture_output=True, text=True).stdout.split()[
        0
    ]
    (folder / ".venv" / f"ready-cpu-{cksum}").touch()
    return folder


AGAIN = "This .venv is of another folder, or of a Python that is gone, so it is made anew."


def makes_anew(folder):
    plan = make("-n", "install", folder=folder)
    assert plan.returncode == 0
    assert (AGAIN in plan.stdout) == ("venv --clear .venv" in plan.stdout)
    return AGAIN in plan.stdout


def test_an_environment_that_was_moved_or_copied_is_made_anew(installed):
    assert not makes_anew(installed)
    second = Path(shutil.copytree(installed, installed.with_name("second"), symlinks=True))
    assert makes_anew(second)  # its library is the first one's
    assert not makes_anew(installed)
    installed.rename(installed.with_name("renamed"))
    assert makes_anew(installed.with_name("renamed"))


def test_an_environment_without_its_python_is_made_anew(installed):
    for name in (installed / ".venv" / "bin").glob("python*"):
        name.unlink()
        name.symlink_to("/nowhere/python3")
    assert makes_anew(installed)


def test_an_environment_without_the_library_is_made_anew(installed):
    next(installed.glob(".venv/lib/python*/site-packages/ours.pth")).unlink()
    assert makes_anew(installed)


def test_settings_of_other_projects_do_no_harm():
    """Where packages go and what else is imported; where they come from remains everybody's own business."""
    settings = dict.fromkeys(
        ("PIP_USER", "PIP_TARGET", "PIP_CONSTRAINT", "PYTHONPATH", "PYTHONHOME", "PIP_TIMEOUT"), "/elsewhere"
    )
    seen = make("-s", "--eval=show: ; @env", "show", **settings).stdout.splitlines()
    assert {line.partition("=")[0] for line in seen} & settings.keys() == {"PIP_TIMEOUT"}
    installs = [line for line in make("-n", "install", "READY=never").stdout.splitlines() if "pip install" in line]
    assert all("--no-user" in line for line in installs)  # which pip.conf may ask for


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


@pytest.mark.parametrize("folder", ["lessons_lib", "tools", "benchmarks"])
def test_every_file_is_opened_with_its_encoding(folder):
    """The locale's is another one on other machines."""
    calls = 0
    for path in (ROOT / folder).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            words = {keyword.arg for keyword in call.keywords}
            given = [one.value for one in call.args if isinstance(one, ast.Constant)]
            assert not words & {"text", "universal_newlines"}, (path.name, call.lineno)
            if name in {"read_text", "write_text"} or (name == "open" and "w" in given):
                calls += 1
                assert "utf-8" in given or "encoding" in words, (path.name, call.lineno)
    assert calls


def test_a_clone_has_the_same_line_ends_everywhere(tmp_path):
    """Also where git is told to write others, as Windows' is."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if tracked.returncode:
        pytest.skip("this folder is no clone")
    git = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    subprocess.run([*git, "init", "-q", tmp_path], check=True)
    for name in (".gitattributes", ".ci/run", "Makefile", "notebooks/02_forward_chain.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run([*git, "add", "."], cwd=tmp_path, check=True)
    for path in tmp_path.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    subprocess.run([*git, "checkout", "-q", "."], cwd=tmp_path, check=True)
    for name in (".ci/run", "Makefile", "notebooks/02_forward_chain.py"):
        assert b"\r" not in (tmp_path / name).read_bytes(), name
