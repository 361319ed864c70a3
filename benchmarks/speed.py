"""How fast the networks train and answer, beside what this machine reaches in plain matrix products.

README.md in this folder says what the columns are. `make bench` runs it.
"""

import argparse
import logging
import os
import platform
import sys
from pathlib import Path
from unittest import mock

import peer
import table
from lessons_lib import unet

# isort: split
# After lessons_lib, which keeps TensorFlow from greeting.
import keras
import numpy as np
from keras import layers, ops

SIDE = 2048  # of the matrices
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


def as_they_come(silu=True):
    """What AdaptiveGroupNorm does in one layer, in Keras' own: group normalisation, scale and shift, SiLU."""

    def call(x, scale_shift=None):
        own = scale_shift is None
        x = layers.GroupNormalization(unet.GROUPS, epsilon=1e-5, center=own, scale=own)(x)
        if not own:
            scale, shift = ops.split(ops.cast(scale_shift, x.dtype)[:, None, None], 2, axis=-1)
            x = (1 + scale) * x + shift
        return layers.Activation("silu")(x) if silu else x

    return call


def reference():
    """The network of the reference timings."""
    return unet.unet(32, 1, (32, 64, 128), 2)


def unfolded():
    """The same network, before its normalisation became one layer."""
    with mock.patch.object(unet, "AdaptiveGroupNorm", as_they_come):
        return reference()


def digits():
    """A network for digits, in patches of 2 x 2."""
    return unet.unet(28, 1, (48, 96), 1, patch=2)


NETWORKS = {"reference": reference, "reference in Keras' layers": unfolded, "digits": digits}


def main(arguments=None, networks=NETWORKS, side=SIDE):
    """Measure and print; `networks`: {name: function that builds it}, to the first of which the peer is compared."""
    options = parsed(arguments)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # each network is traced, and it would warn of that
    repeats = 2 if options.quick else options.repeats
    print(f"{machine()}. Batches of {options.batch}, {repeats} repeats.\n", flush=True)
    with peer.running(options.peer, options.batch, side) as (ask, hello):
        # The peer first, as TensorFlow takes all of a GPU's memory.
        theirs = peer.candidates(ask, hello, next(iter(networks))) if ask else []
        products = {precision: product(precision, side) for precision in ("float32", "bfloat16")}
        ours = [candidate(name, networks[name], precision, options) for name in networks for precision in products]
        if ask:
            products |= {f"{name}, PyTorch": lambda name=name: ask(f"product {name}") for name in products}
        candidates = ours + theirs
        seconds = table.measure(candidates, products, repeats)
    print(table.rates(seconds, side), table.speeds(candidates, options.batch, side), table.ratios(candidates), sep="\n\n")
    print("\nPeer:", hello["versions"] if ask else "not measured; it needs torch and diffusers, see benchmarks/README.md")


def parsed(arguments):
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=64, help="images of a step (64; to be busy, a GPU takes more)")
    parser.add_argument("--repeats", type=int, default=15, help="of every measurement (15)")
    parser.add_argument("--quick", action="store_true", help="two repeats: does it work at all")
    parser.add_argument("--xla", action="store_true", help="have XLA compile on the CPU too; JAX always does")
    parser.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="one that has torch and diffusers")
    return parser.parse_args(arguments)


def machine():
    """The machine and the versions, in one line; no names but those of products."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpuinfo = Path("/proc/cpuinfo")
    known = cpuinfo.read_text("utf-8").split() if cpuinfo.exists() else []
    flags = " ".join(flag.upper() for flag in FLAGS if flag in known)
    versions = f"{keras.backend.backend()} {backend().__version__}, Keras {keras.__version__}"
    return f"{platform.machine()}, {cores} cores, {flags or 'none of the known flags'}; {gpu() or 'no GPU'}; {versions}"


def backend():
    """The module of Keras' backend."""
    return sys.modules[keras.backend.backend()]


def gpu():
    """The name of the graphics card that the backend takes, or nothing."""
    if keras.backend.backend() == "tensorflow":
        cards = backend().config.list_physical_devices("GPU")
        return cards and backend().config.experimental.get_device_details(cards[0]).get("device_name", "GPU")
    if keras.backend.backend() == "jax":
        card = backend().devices()[0]
        return card.platform == "gpu" and card.device_kind
    return backend().cuda.is_available() and backend().cuda.get_device_name()


def product(dtype, side):
    """A call that gives the seconds of one product of square matrices."""
    values = np.random.default_rng(0).normal(scale=side**-0.5, size=(side, side))  # products keep their size
    matrix = ops.cast(ops.convert_to_tensor(values.astype("float32")), dtype)
    count = 100 if gpu() else 4  # in one call, or a GPU would wait for the next

    def multiply(x, y):
        for _ in range(count):
            x = ops.matmul(x, y)
        return x

    compiler = {"tensorflow": "function", "jax": "jit"}.get(keras.backend.backend())
    compiled = getattr(backend(), compiler)(multiply) if compiler else multiply
    call = table.timed(lambda: float(compiled(matrix, matrix)[0, 0]))  # a number in Python: it has been waited for
    call()
    return lambda: call() / count


def candidate(name, build, precision, options):
    """One of our networks in one precision, after its first step."""
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy({"bfloat16": "mixed_bfloat16"}.get(precision, precision))
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy(usual)
    model.compile(keras.optimizers.Adam(), "mse", jit_compile=True if options.xla else "auto")
    model.optimizer.build(model.trainable_variables)  # its memory, made before the first step
    rng = np.random.default_rng(0)
    x_t = rng.normal(size=(options.batch, *model.output_shape[1:])).astype("float32")
    inputs = [x_t, rng.integers(1, 1000, size=options.batch).astype("int32")]
    step, forward = table.timed(model.train_on_batch, inputs, x_t), table.timed(model.predict_on_batch, inputs)
    first = step()
    forward()  # compiles
    return table.Candidate(name, precision, unet.flops(model), first, {"step": step, "forward": forward})


if __name__ == "__main__":
    main()
