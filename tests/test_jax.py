"""The kernels on a second backend, in a process where TensorFlow cannot be imported."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ["test_schedule.py", "test_diffusion.py", "test_oracle.py", "test_layers.py"]
FILES += [
    "test_editing.py",
    "test_resize.py",
    "test_guidance.py",
    "test_optimizers.py",
    "test_text.py",
    "test_grammar.py",
    "test_unet.py::test_unet_equals_a_second_implementation",
    "test_unet.py::test_every_weight_receives_a_gradient",
    "test_sampling.py::test_clipping_recomputes_the_noise",
    "test_sampling.py::test_ddpm_is_algorithm_2",
    "test_sampling.py::test_the_states_are_those_of_the_walk",
    "test_sampling.py::test_inverting_never_asks_about_the_data_and_in_batches",
    "test_judges.py::test_more_noise_is_farther_away",
]
RUN = """
import sys, pytest

class NoTensorFlow:  # None in sys.modules would do, but einops takes that for a TensorFlow
    def find_spec(name, *_):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTensorFlow)
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed (it is in the dev group of pyproject.toml)")
def test_the_kernels_run_on_jax_without_tensorflow():
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    # No conftest, as it needs TensorFlow, and no options of the project's, which are for the lessons.
    options = ["-q", "--noconftest", "--override-ini=addopts=", "-p", "no:cacheprovider"]
    files = [str(ROOT / "tests" / file) for file in FILES]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *options, *files], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
