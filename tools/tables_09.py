"""Lesson 09's cells: cost by size, what schedule, target and width do to drawn scenes, what a chain that ends too early does.

And the numbers of real flowers, so that drawn ones can be scored where there are none. Needs Oxford Flowers 102.
"""

import json
import re
import resource
import subprocess
import sys
import time
import warnings
from functools import cache, partial
from pathlib import Path

import numpy as np

import weights as recipes
from lessons_lib import data, grammar, judges, metrics, optimizers, sampling, training, unet
from lessons_lib.schedule import Schedule, shifted
from tables import Cell, rounded

SIDES = (16, 32, 64, 128)  # of pictures, in pixels
NETWORK = {key: recipes.COLOUR[key] for key in ("channels", "widths", "blocks", "patch")}
STEPS = 2500  # of a training
SEEDS = (0, 1, 2)
SHIFT = recipes.COLOUR["shift"]
NETWORKS = [("x_0", None, 48), *((target, SHIFT, width) for width in (48, 24, 96) for target in ("x_0", "velocity"))]
ENDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)  # the least signal that a chain's end keeps
WALK = 25  # steps of a walk back
FINE = 100  # of one that loses less of the mean colour by long steps than 25 do
SEED = 1  # of what is drawn
CHECKPOINTS = Path("build/tables")


def cells(images=1000, steps=STEPS, seeds=SEEDS):
    """All of them."""
    for side in SIDES:
        yield Cell(f"cost, {side} pixels", NETWORK | {"batch": recipes.usual()["batch"]}, (), partial(cost, side))
    drawn = {"images": images, "seed": SEED, "clip": True, "steps": WALK}
    for split in ("train", "test"):
        yield Cell(f"real, {split}", {"images": images}, (), partial(real, "scenes", split, images))
    for split in (recipes.FLOWERS["split"], "validation"):
        yield Cell(f"flowers, {split}", {"images": images}, (), partial(real, recipes.FLOWERS["source"], split, images))
    for least in ENDS:
        settings = drawn | {"least": least, "steps": FINE, "images": images // 2}
        yield Cell(f"a chain that keeps {least:.0%}", settings, ("scenes",), partial(ended, least, images // 2))
    for target, shift, width in NETWORKS:
        for seed in seeds:
            settings = {"training": steps, "training_seed": seed, "recipe": recipes.usual() | changed(target, shift, width)}
            name = f"{target}, {'shifted' if shift else 'as it is'}, width {width}, seed {seed}"
            of = (target, shift, width, steps, seed)
            yield Cell(name, drawn | settings, (), partial(drawn_by, of, images))
            if (target, width) == ("x_0", 48):
                settings |= {"walk_shifted_by": 1 / SHIFT if shift else SHIFT}
                yield Cell(f"{name}, on the other's walk", drawn | settings, (), partial(drawn_by, of, images, elsewhere=True))


def cost(side, batch=32, steps=12):
    """Of a picture's size: operations of one forward pass, and of a process that trains, seconds a step and most memory.

    gigabytes_before: what it held before there was a network, that is, of the libraries.
    """
    command = [sys.executable, __file__, *map(str, (side, batch, steps))]
    return json.loads(subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout.splitlines()[-1])


def trains(side, batch, steps):
    """The same, of this process."""
    before = memory()
    model = unet.unet(side, **NETWORK)
    model.compile(optimizers.Muon(1e-3), "mse")
    noise, took = np.random.default_rng(0).standard_normal((batch, side, side, 3), np.float32), []
    for _ in range(steps):
        start = time.perf_counter()
        model.train_on_batch([noise, np.ones(batch, np.int32)], noise)
        took.append(time.perf_counter() - start)
    numbers = {"gflop": unet.flops(model) / 1e9, "step_seconds": np.median(took[2:])}
    numbers |= {"gigabytes": memory(), "gigabytes_before": before}
    return {name: float(f"{value:.4g}") for name, value in numbers.items()}


def memory():
    """The most that this process has held so far, in GB."""
    status = Path("/proc/self/status")  # of Linux, where a new process inherits ru_maxrss from the one that started it
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text("utf-8"))[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def real(source, split, images):
    """What real pictures are like."""
    size = recipes.COLOUR["size"]
    return looks(next(iter(data.load(source, split, images, size=size, label=None))).numpy(), read=source == "scenes")


def drawn_by(of, images, elsewhere=False):
    """What a network draws that was trained in this way, with its averaged weights, and its last loss.

    elsewhere: whether it is drawn along the other chain, the shifted one or the one as it is: at each t of that one, the network
    is asked about its own time of the nearest signal-to-noise ratio. Then only the steps of the walk lie elsewhere.
    """
    run = trained(*of)
    predict_noise, chain = training.TARGETS[run.card["target"]](run.model, run.noise), run.noise
    if elsewhere:
        chain = shifted(run.noise, 1 / SHIFT if run.card["shift"] else SHIFT)
        predict_noise = by_ratio(predict_noise, run.noise, chain)
    return looks(walked(predict_noise, chain, images)) | {"loss": run.card["losses"][-1]}


def by_ratio(predict_noise, own, other):
    """A network of one schedule for the times of another: asked about its own of the nearest signal-to-noise ratio."""
    nearest = np.append(0, 1 + np.abs(own.log_snr[1:, None] - other.log_snr[1:]).argmin(axis=0))
    return lambda x_t, t: predict_noise(x_t, nearest[np.asarray(t)])


def walked(predict_noise, chain, images, steps=WALK):
    """What a walk back along a chain ends with, from the same noise for all of them."""
    *_, state = sampling.sample(predict_noise, chain, (images, 64, 64, 3), steps, seed=SEED, clip=True, batch_size=250)
    return state.x_t


def changed(target, shift, width):
    """The options of the recipe for such a network."""
    return recipes.COLOUR | {"source": "scenes", "target": target, "shift": shift, "widths": [width, 96]}


@cache
def trained(target, shift, width, steps, seed):
    """A network of lesson 09's recipe with some of its options changed."""
    name = f"{target}-{'shifted' if shift else 'plain'}-{width}-{steps}-{seed}"
    return recipes.trained(CHECKPOINTS / name, steps=steps, seed=seed, **changed(target, shift, width))


def ended(least, images):
    """What the packaged network draws if the walk begins, in pure noise, where x_t still has so much signal."""
    predict_noise, noise = training.load_weights("scenes")
    last = int(np.flatnonzero(noise.signal_rate >= least)[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it ends too early is the point
        early = Schedule(noise.beta[1 : last + 1])
    return {"terminal_signal": float(f"{early.terminal_signal:.4g}")} | looks(walked(predict_noise, early, images, FINE))


def looks(images, read=True):
    """Numbers of pictures, (N, 64, 64, 3) in [-1, 1], each with its standard error.

    whole: the share that the reader of scenes reads; day, sunset, ...: the share of those that show this ground. grain: the
    typical difference of pixels side by side, in 0..255: the median over a picture, as most of it is smooth, and the mean over
    pictures. red, green, blue: the mean colour. spread: its variance, summed over channels. octave_1 to octave_32:
    `metrics.octaves`, by their lowest frequency in cycles a picture.
    """
    colour, each = images.mean(axis=(1, 2)), {}
    if read:
        found = judges.read(images)
        whole = [scene for scene in found if scene is not None]
        each["whole"] = np.array([scene is not None for scene in found])
        each |= {ground: np.array([scene.ground == ground for scene in whole]) for ground in grammar.GROUNDS if len(whole) > 1}
    each["grain"] = np.median(np.abs(np.diff(127.5 * images.clip(-1, 1), axis=2)), axis=(1, 2, 3))
    each |= dict(zip(("red", "green", "blue"), colour.T, strict=True))
    each["spread"] = np.square(colour - colour.mean(axis=0)).sum(axis=1)
    each |= {f"octave_{2**k}": power for k, power in enumerate(metrics.octaves(images).T)}
    numbers = {}
    for name, values in each.items():
        estimate = rounded(metrics.Estimate(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)))
        numbers |= {f"{name}_{key}": value for key, value in estimate.items()}
    return numbers


if __name__ == "__main__":
    print(json.dumps(trains(*map(int, sys.argv[1:]))))
