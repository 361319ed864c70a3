"""What minutes of training buy: the distance of a recipe's digits from real ones, and the seconds that digits take.

README.md in this folder says what the columns are. `make bench` runs it after the speeds.
"""

import argparse
import ast
import time

import table
import weights  # of tools/
from lessons_lib import sampling, training


def main(arguments=None, images=2000):
    """Train, measure and print; each row as soon as it is known, and all as tables in the end."""
    options = parsed(arguments)
    rows = [trained(steps, seed, options.recipe, images) for seed in options.seeds for steps in options.steps]
    if rows:
        print(table.markdown(["recipe", "seed", "steps", "minutes", "last loss", "10 DDIM steps", "25 DDIM steps"], rows))
    rows = [[str(steps), table.spread(seconds(steps, options.repeats))] for steps in (10, 50, 200)]
    print("\n" + table.markdown(["steps", "64 digits, s"], rows))


def parsed(arguments):
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--steps", type=int, nargs="*", default=[1200, 2400, 4800], help="of training, a run each (1200 2400 4800)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a run each (0)")
    parser.add_argument("--recipe", type=setting, nargs="*", default=[], metavar="NAME=VALUE", help="as in tools/weights.py")
    parser.add_argument("--repeats", type=int, default=5, help="of drawing 64 digits (5)")
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


def seconds(steps, repeats):
    """What 64 digits take from the packaged network, drawn at once."""
    predict_noise, noise = training.load_weights()

    def draw():
        for _ in sampling.sample(predict_noise, noise, (64, 28, 28, 1), steps, clip=True):
            pass

    call = table.timed(draw)
    call()
    return [call() for _ in range(repeats)]


if __name__ == "__main__":
    main()
