"""Measure in turns, and show what came out as Markdown.

Whatever else the machine does is in these times too. So all that is compared is measured in turns, and a ratio is the median of
the ratios within a turn, not the ratio of two medians.
"""

import math
import time
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Candidate:
    """A network in one precision: calls that give the seconds of a step and of a forward pass, and what they gave."""

    network: str
    precision: str
    flops: int  # of one image's forward pass
    first: float  # seconds of the first step
    calls: dict  # {"step": call, "forward": call}
    seconds: dict = field(default_factory=lambda: {"step": [], "forward": []})
    products: dict = field(default_factory=lambda: {"step": [], "forward": []})  # seconds of one, just before and after


def timed(function, *inputs):
    """A call of `function` that gives its seconds."""

    def call():
        start = time.perf_counter()
        function(*inputs)
        return time.perf_counter() - start

    return call


def measure(candidates, products, repeats):
    """Every candidate and every matrix product in turns; gives {name of a product: seconds}."""
    seconds = {name: [] for name in products}
    for _ in range(repeats):
        for candidate in candidates:
            before = products["float32"]()
            for name, call in candidate.calls.items():
                candidate.seconds[name].append(call())
                after = products["float32"]()
                candidate.products[name].append((before + after) / 2)
                before = after
        for name, call in products.items():
            seconds[name].append(call())
    return seconds


def rates(seconds, side):
    """The table of the matrix products."""
    rows = [[name, spread(2 * side**3 / 1e9 / value for value in values)] for name, values in seconds.items()]
    return markdown([f"matrix product, {side} x {side}", "GFLOP/s"], rows)


def speeds(candidates, batch, side):
    """The table of the networks."""
    columns = ["network", "precision", "GFLOP/image", "first step, s", "step, ms", "forward, ms"]
    columns += ["step, images/s", "forward, images/s", "step, share", "forward, share"]
    rows = []
    for candidate in candidates:
        row = [candidate.network, candidate.precision, number(candidate.flops / 1e9), number(candidate.first)]
        row += [spread(1000 * value for value in candidate.seconds[name]) for name in candidate.calls]
        row += [number(batch / median(candidate.seconds[name])) for name in candidate.calls]
        row += [spread(shares(candidate, name, batch, side)) for name in candidate.calls]
        rows.append(row)
    return markdown(columns, rows)


def shares(candidate, name, batch, side):
    """What part of the float32 matrix products' rate a step (three forward passes' work) or a forward pass reaches."""
    work = candidate.flops * batch * {"step": 3, "forward": 1}[name] / (2 * side**3)  # in matrix products
    pairs = zip(candidate.products[name], candidate.seconds[name], strict=True)
    return [work * product / seconds for product, seconds in pairs]


def ratios(candidates):
    """The table of who does more in the same time: bfloat16 or float32, a network or the same in other layers."""
    rows = []
    for one in candidates:
        for other in candidates:
            twins = one.network == other.network and (one.precision, other.precision) == ("bfloat16", "float32")
            if twins or (one.precision == other.precision and other.network.startswith(f"{one.network} in ")):
                row = [f"{one.network}, {one.precision}", f"{other.network}, {other.precision}"]
                rows.append(row + [spread(gains(one, other, name)) for name in one.calls])
    return markdown(["this", "beside this", "step, times the GFLOP/s", "forward, times the GFLOP/s"], rows)


def gains(one, other, name):
    """How many times the GFLOP/s of `other` were those of `one`, turn by turn; at equal work, how many times as fast it was."""
    pairs = zip(one.seconds[name], other.seconds[name], strict=True)
    return [(one.flops / ours) / (other.flops / theirs) for ours, theirs in pairs]


def spread(values):
    """The median and the range: 1.23 (1.10..1.40)."""
    values = sorted(values)
    return f"{number(median(values))} ({number(values[0])}..{number(values[-1])})"


def number(value):
    """Three digits that mean something: 0.0123, 1.23, 12.3, 1230."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def markdown(columns, rows):
    """A table that is readable as it is."""
    cells = [columns, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
