"""What importing the package does, seen from outside."""

import os
import subprocess
import sys


def imported(code, folder=None, **environment):
    path = os.pathsep.join(filter(None, [str(folder or ""), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | environment | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_tensorflow_comes_without_its_greeting():
    done = imported("import lessons_lib, tensorflow as tf; print(int(tf.reduce_sum([1, 2])))")
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_what_else_is_said_is_passed_on(tmp_path):
    greeting = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
    (tmp_path / "tensorflow.py").write_text(f"import os; os.write(2, b'{greeting}\\nsomething serious\\n')")
    done = imported("import lessons_lib", tmp_path)
    assert done.stderr == "something serious\n"


def test_an_import_that_fails_says_so(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('a broken install')")
    done = imported("import lessons_lib", tmp_path)
    assert done.returncode == 1
    assert "ImportError: a broken install" in done.stderr


def test_without_tensorflow_the_package_imports():
    done = imported("import sys; sys.modules['tensorflow'] = None; import lessons_lib; print('here')")
    assert done.stdout == "here\n", done.stderr


def test_another_backend_does_not_load_tensorflow():
    done = imported("import sys, lessons_lib; print('tensorflow' in sys.modules)", KERAS_BACKEND="jax")
    assert done.stdout == "False\n", done.stderr


def test_kernels_are_traced_without_a_word():
    done = imported("""
import lessons_lib
import numpy as np, tensorflow as tf
from lessons_lib import diffusion, oracle, schedule
one = schedule.linear(10)
perfect = oracle.points(one, np.eye(2))

@tf.function(input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int32)])
def trace(x, t):
    mixed = diffusion.corrupt(x, x, tf.zeros_like(x[:, 0]))
    return diffusion.add_noise(mixed, x, one.at(t, like=x)) + perfect.predict_noise(x, t)

print(trace(np.ones((3, 2), np.float32), np.int32([1, 2, 3])).shape)
""")
    assert done.stdout == "(3, 2)\n"
    assert done.stderr == ""
