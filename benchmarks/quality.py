"""What minutes of training buy: the distance of a recipe's digits from real ones, and the seconds that digits take.

README.md in this folder says what the columns are. `make bench` runs it after the speeds.
"""

import argparse
import ast
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

import table
import weights  # of tools/
from lessons_lib import data, judges, metrics, sampling, training

COLUMNS = ["recipe", "seed", "steps", "minutes", "last loss", "10 DDIM steps", "25 DDIM steps"]


def main(arguments=None, images=2000):
    """Train, measure and print; each row as soon as it is known, and all as tables in the end."""
    options = parsed(arguments)
    rows = [trained(steps, seed, options.recipe, images) for seed in options.seeds for steps in options.steps]
    if rows:
        print(table.markdown(COLUMNS, rows))
    if options.peer:
        print("\n" + table.markdown(COLUMNS, [peers(options.peer, options.minutes, images)]))
    rows = []
    for steps in (10, 50, 200):
        drawn, asked = seconds(steps, options.repeats)
        ratios = [one / other for one, other in zip(drawn, asked, strict=True)]
        rows.append([str(steps), table.spread(drawn), table.spread(ratios)])
    print("\n" + table.markdown(["steps", "64 digits, s", "times the network's calls alone"], rows))


def parsed(arguments):
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, nargs="*", default=[900, 1800, 3600], help="of training, a run each (900 1800 3600)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a run each (0)")
    parser.add_argument("--recipe", type=setting, nargs="*", default=[], metavar="NAME=VALUE", help="as in tools/weights.py")
    parser.add_argument("--repeats", type=int, default=5, help="of drawing 64 digits (5)")
    parser.add_argument("--peer", metavar="PYTHON", help="one that has torch and diffusers: train its network, too")
    parser.add_argument("--minutes", type=float, default=7, help="of the peer's training (7)")
    return parser.parse_args(arguments)


def setting(text):
    """A recipe's argument: rate=4e-3, widths=(32,64), target=noise."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def trained(steps, seed, changes, images):
    """A row: what so many steps cost, and what they bought."""
    start = time.perf_counter()
    run = weights.recipe(steps=steps, seed=seed, **dict(changes))
    minutes = (time.perf_counter() - start) / 60
    with run.average.applied():
        distances = [str(weights.distance(run, count, images)) for count in (10, 25)]
    name = ", ".join(f"{name} {value}" for name, value in changes) or "lesson 05's"
    row = [name, str(seed), str(steps), table.number(minutes), table.number(run.card["losses"][-1]), *distances]
    print(" | ".join(row), flush=True)
    return row


def peers(python, minutes, images):
    """A row: what so many minutes buy with diffusers' network (peer_quality.py), measured as ours are, but in 25 steps only."""
    script = Path(__file__).with_name("peer_quality.py")
    with tempfile.TemporaryDirectory() as folder:
        digits, drawn = Path(folder) / "digits.npy", Path(folder) / "drawn.npy"
        np.save(digits, data.to_pixels(weights.arrays("train")[0]))
        asked = [python, script, digits, drawn, str(minutes), str(images), "25"]
        told = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout)
        distance = metrics.frechet_distance(judges.features(np.load(drawn)), judges.reference()[0])
    return ["diffusers", "0", str(told["steps"]), table.number(told["minutes"]), table.number(told["loss"]), "", str(distance)]


def seconds(steps, repeats):
    """What 64 digits take from the packaged network, drawn at once, and in turn what its calls alone take."""
    predict_noise, noise = training.load_weights("digits")
    states = list(sampling.sample(predict_noise, noise, (64, 28, 28, 1), steps, clip=True))
    asked = [(before.x_t, np.full(64, before.t, np.int32)) for before in states[:-1]]

    def draw():
        for _ in sampling.sample(predict_noise, noise, (64, 28, 28, 1), steps, clip=True):
            pass

    def ask():
        for x_t, t in asked:
            predict_noise(x_t, t)

    calls = [(table.timed(draw)(), table.timed(ask)()) for _ in range(repeats)]
    return tuple(zip(*calls, strict=True))


if __name__ == "__main__":
    main()
