"""What the lessons have earned: small tested kernels for diffusion models, in the order in which the lessons derive them.

The contract that every module keeps:

- Images are NHWC. Pixels are uint8 0..255 on disk; the model's range is float32 [-1, 1].
- Names are the field's: x_0, x_t, noise, t. An equation is cited as (DDPM, eq. 4).
- Kernels take randomness as an argument; loops take a seed. Same seed, same machine, same result.
- Bad input is refused by a message that names the argument, what was expected and what was received.

Keras runs on TensorFlow unless the environment's KERAS_BACKEND names another backend.
"""

import os
import sys
import tempfile


def _import_tensorflow_quietly():
    """Import TensorFlow without the greeting that its libraries write to stderr before any setting can stop them.

    A lesson's first output would be four lines of it. Whatever else was written is written out afterwards.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        stderr = os.dup(2)
    except OSError:
        return  # it is closed, so that nobody reads a greeting; Keras imports TensorFlow
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except ModuleNotFoundError:
            pass  # most modules do without it; the others say so themselves
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            lines = written.read().decode(errors="replace").splitlines(keepends=True)
            rest = "".join(line for line in lines if "absl::InitializeLog" not in line and "oneDNN custom" not in line)
            os.write(2, rest.encode())


if os.environ.get("TFDS_DATA_DIR") == "":
    del os.environ["TFDS_DATA_DIR"]  # TFDS would take it for the working directory

if "keras" not in sys.modules:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # and not what another project left in ~/.keras/keras.json
if os.environ.get("KERAS_BACKEND") == "tensorflow":
    _import_tensorflow_quietly()
try:
    from lessons_lib import layers, optimizers  # noqa: F401  (so that Keras knows them in the files that it loads)
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "tensorflow":  # as above
        raise
