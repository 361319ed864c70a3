"""What importing the package does, seen from outside."""

import os
import subprocess
import sys


def imported(code, folder=None, **environment):
    path = os.pathsep.join(filter(None, [str(folder or ""), os.environ.get("PYTHONPATH", "")]))
    environment = {k: v for k, v in (os.environ | environment | {"PYTHONPATH": path}).items() if v is not None}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_tensorflow_comes_without_its_greeting():
    done = imported("import lessons_lib, tensorflow as tf; print(int(tf.reduce_sum([1, 2])))")
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_what_else_is_said_is_passed_on(tmp_path):
    greeting = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
    (tmp_path / "tensorflow.py").write_text(f"import os; os.write(2, b'{greeting}\\nsomething serious\\n')")
    done = imported("import lessons_lib as ours; ours._import_tensorflow_quietly()", tmp_path, KERAS_BACKEND="numpy")
    assert done.stderr == "something serious\n"


def test_an_import_that_fails_says_so(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('a broken install')")
    done = imported("import lessons_lib", tmp_path)
    assert done.returncode == 1
    assert "ImportError: a broken install" in done.stderr


def test_without_tensorflow_the_package_imports():
    done = imported("import sys; sys.modules['tensorflow'] = None; import lessons_lib; print('here')")
    assert done.stdout == "here\n", done.stderr


def test_without_another_package_the_import_fails_and_names_it():
    """Or a saved network would fail later, for want of our layers."""
    done = imported("import sys; sys.modules['einops'] = None; import lessons_lib")
    assert done.returncode == 1
    assert "ModuleNotFoundError: import of einops halted" in done.stderr


def test_with_stderr_closed_the_package_imports():
    """As under a daemon."""
    assert imported("import os; os.close(2); import lessons_lib; print('here')").stdout == "here\n"


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


ELSEWHERE = '{"backend": "jax", "image_data_format": "channels_first", "floatx": "float16"}'


def test_what_keras_was_told_elsewhere_does_not_count(tmp_path):
    """~/.keras/keras.json, in a folder that another variable may name. A network of ours takes NHWC in any case."""
    (tmp_path / "keras.json").write_text(ELSEWHERE)
    code = """
import lessons_lib, keras
from lessons_lib import unet
print(keras.backend.backend(), unet.unet(8, 1, (8,), 1).output_shape, unet.basic_unet().output_shape)
from lessons_lib import judges, profile
print(keras.config.floatx(), keras.config.image_data_format(), judges.classifier().output_shape)
"""
    done = imported(code, KERAS_HOME=str(tmp_path), KERAS_BACKEND=None)
    assert done.stdout == "tensorflow (None, 8, 8, 1) (None, 28, 28, 1)\nfloat32 channels_last (None, 10)\n", done.stderr


def test_a_lesson_on_another_backend_says_what_to_do():
    done = imported("import lessons_lib.profile", KERAS_BACKEND="jax")
    last = done.stderr.strip().splitlines()[-1]
    assert "ImportError: The lessons run on TensorFlow, but Keras on 'jax': unset KERAS_BACKEND (in a notebook, %env" in last


def test_keras_files_need_no_more_than_the_library(tmp_path):
    """In a new process, with a layer and an optimizer of ours; whichever of the two is imported first."""
    code = f"""
from lessons_lib import optimizers, unet
model = unet.unet(8, 1, (8,), 1)
model.compile(optimizers.Muon(1e-3), "mse")
model.optimizer.build(model.trainable_variables)
model.save({str(tmp_path / "ours.keras")!r})
"""
    assert imported(code).returncode == 0
    for first in ("import lessons_lib, keras", "import keras, lessons_lib"):
        done = imported(f"{first}; print(keras.models.load_model({str(tmp_path / 'ours.keras')!r}).optimizer.name)")
        assert done.stdout == "muon\n", done.stderr


def test_without_a_home_the_library_works(tmp_path):
    """As in a container whose user has none."""
    code = """
import numpy as np
from lessons_lib import data, judges, plots, profile
((images, _),) = data.load_digits("test[:20]", 20)
plots.show_images(images, "Twenty digits.")
print(judges.features(images.numpy()).shape)
"""
    places = dict.fromkeys(("TFDS_DATA_DIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "KERAS_HOME"))
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = imported(code, HOME=str(tmp_path / "nowhere" / "at all"), TMPDIR=str(tmp_path), **places, **closed)
    assert done.stdout.endswith("(20, 64)\n"), done.stderr
