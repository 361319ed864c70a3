"""Which modules `make mutants` plants its faults in. Cosmic Ray itself is in no lock, so nothing is planted here."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from lessons import ROOT

RAY = "cosmic_ray"
PARTS = ["commands.init", "mutating", "plugins", "work_db", "work_item"]


class Empty(ModuleType):
    """A module that has whatever is asked of it."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)


@pytest.fixture
def mutants(monkeypatch):
    for name in ("", ".commands", *(f".{part}" for part in PARTS)):
        monkeypatch.setitem(sys.modules, RAY + name, Empty(RAY + name))
    monkeypatch.delitem(sys.modules, "mutants", raising=False)
    monkeypatch.chdir(ROOT)
    import mutants

    yield mutants
    del sys.modules["mutants"]


def test_packages_are_modules_too(mutants):
    found = {name: mutants.source(name) for name in mutants.modules()}
    assert found["weights"] == Path("lessons_lib/weights/__init__.py")
    assert found["checks"] == Path("lessons_lib/checks/__init__.py")
    assert found["sampling"] == Path("lessons_lib/sampling.py")
    assert all(path.exists() and mutants.tests(name).exists() for name, path in found.items())
