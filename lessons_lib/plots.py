"""Figures that every lesson shares. Each returns a picture with alt text, which a notebook shows as a cell's last line."""

import inspect
import io
import time
from base64 import b64encode
from collections import Counter
from html import escape
from itertools import cycle
from pathlib import Path
from textwrap import fill as wrapped
from types import SimpleNamespace

import imageio.v3 as iio
import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from einops import rearrange
from ipycanvas import Canvas
from IPython import get_ipython
from IPython.display import Image, display
from keras.callbacks import LambdaCallback
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from lessons_lib import files

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"  # told apart by all eyes (Okabe and Ito 2008)
DPI = 144  # twice what a page shows, for sharp text on sharp screens
JPEG = {"quality": 90, "subsampling": 0}  # colours at full resolution, or edges get fringes; "optimize" fails on noise
LARGE = 32  # the side of images from which on they are drawn smaller: they would not fit a page, nor a JPEG be small
BOARD = 320  # pixels of a page: about the longer side of what `canvas` shows
HOLE = (213, 94, 0)  # ORANGE, where it was rubbed out
RECENT = 10.0  # seconds: how far back `progress` looks to tell the time left

plt.rcdefaults()  # the same figures for everybody: a personal matplotlibrc may turn images upside down, or need LaTeX


def show(figure, alt, *, photo=False):
    """A matplotlib figure as a picture with alt text; the figure is closed. Raises ValueError for an empty alt.

    A PNG; with photo, for figures that consist of colour pictures, a JPEG where that is smaller.
    """
    return _shown(figure, alt, photo)


def show_images(images, alt, *, columns=8, low=-1.0):
    """A grid of images, row by row: dark digits on light, or colours as they are.

    images: (N, H, W, C), floats in [low, 1] (what lies outside is drawn as the nearest), C = 1 or 3; low: -1 for the
    model's range, 0 for lesson 01's.
    """
    images = _checked("images", images, 4)
    large = max(images.shape[1:3]) > LARGE  # stored pixel by pixel, and enlarged by the page: a third of the bytes
    figure, axes = _drawn(_sheet(images, columns, low), DPI if large else 42)
    axes.axis("off")
    return _shown(figure, alt, images.shape[-1] == 3, density=1 if large else 2)


def show_filmstrip(rows, alt, *, row_labels=(), column_labels=(), low=-1.0):
    """Rows of images under each other: states of a process, or input against answer, with a label for each row and column.

    rows: a sequence of (N, H, W, C), or one array (rows, N, H, W, C); values and low as for `show_images`.
    """
    rows = _checked("rows", rows, 5)
    count, columns, height, width = rows.shape[:4]
    for argument, labels, number in (("row_labels", row_labels, count), ("column_labels", column_labels, columns)):
        if len(labels) not in (0, number):
            raise ValueError(f"{argument}: expected {number} labels, or none; received {len(labels)}")
    images = rearrange(rows, "r n h w c -> (r n) h w c")

    figure, axes = _drawn(_sheet(images, columns, low), DPI / 2 if max(height, width) > LARGE else 36)
    axes.set_xticks([(width + 2) * (i + 0.5) for i in range(len(column_labels))], column_labels)
    axes.set_yticks([(height + 2) * (i + 0.5) for i in range(len(row_labels))], row_labels)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return show(figure, alt, photo=images.shape[-1] == 3)


def show_captioned(images, captions, alt, *, wrong=(), columns=8):
    """Images under their captions, row by row; before the captions of those that are wrong is a cross.

    images: (N, H, W, C), floats in [-1, 1], as for `show_images`; captions: N strings; wrong: N booleans, or none.
    """
    images = _checked("images", images, 4)
    _check_count("columns", columns)
    wrong = wrong if len(wrong) else [False] * len(images)
    for argument, values in (("captions", captions), ("wrong", wrong)):
        if len(values) != len(images):
            raise ValueError(f"{argument}: expected {len(images)}, one for each image; received {len(values)}")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(1.1 * columns, 1.5 * rows), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, caption, crossed in zip(grid.flat, images, captions, wrong):  # noqa: B905 (the last row may end early)
        axes.imshow(_pixels(image, -1.0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        text = wrapped(f"\u2717 {caption}" if crossed else caption, 20)
        axes.set_title(text, fontsize=6, color=ORANGE if crossed else "black")
    return show(figure, alt, photo=images.shape[-1] == 3)


def plot_loss(losses, alt, *, baselines=None):
    """Loss by step on a logarithmic axis: each step faint, their running mean strong, and what simpler answers cost.

    losses: one number a step, positive; baselines: {label: loss}, drawn as dashed lines.
    """
    losses = _checked("losses", losses, 1)
    if len(losses) == 0 or losses.min() <= 0:
        raise ValueError(f"losses: expected positive numbers; received {losses.tolist()[:5]}")
    window = max(1, len(losses) // 20)
    mean = np.convolve(losses, np.ones(window) / window, mode="valid")

    figure, axes = plt.subplots(figsize=(7, 3.3), layout="constrained")
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color=BLUE, alpha=0.25, linewidth=0.8, label="each step")
    axes.plot(steps[window - 1 :], mean, color=BLUE, linewidth=2, label=f"mean of {window}")
    for (label, loss), style, color in zip((baselines or {}).items(), cycle(("--", ":", "-.")), cycle((ORANGE, GREY, GREEN))):
        axes.axhline(loss, color=color, linestyle=style, label=label)
    axes.set(xlabel="training step", ylabel="loss", yscale="log")
    _plain_ticks(axes.yaxis)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return show(figure, alt)


def plot_estimates(curves, alt, *, labels, log=True, floor=None):
    """Numbers with their standard errors, a line for each label.

    curves: {label: {x: number, or (number, error)}}, one to six; labels: of the two axes, which are logarithmic, for positive
    numbers alone, unless log is False; floor: a baseline for all, drawn as a dashed line.
    """
    if not 1 <= len(curves) <= 6:
        raise ValueError(f"curves: expected one to six, by label; received {len(curves)}")
    for label, curve in curves.items() if log else ():
        values = [value[0] if isinstance(value, tuple) else value for value in curve.values()]
        if bad := [number for number in (*curve, *values) if not number > 0]:
            expected = "positive numbers on logarithmic axes, or log=False"
            raise ValueError(f"curves: expected {expected}; received {bad[0]} in {label!r}")
    if log and floor is not None and not floor > 0:
        raise ValueError(f"floor: expected a positive number on logarithmic axes, or log=False; received {floor}")
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    styles = zip(
        curves.items(), (BLUE, ORANGE, GREEN, GREY, "#CC79A7", "black"), ("o-", "s-", "^-", "D-", "v--", "x:"), strict=False
    )
    for (label, curve), color, style in styles:
        values, errors = zip(*(value if isinstance(value, tuple) else (value, 0.0) for value in curve.values()), strict=True)
        axes.errorbar(list(curve), values, errors, fmt=style, color=color, label=label, markersize=5, linewidth=1.2)
    if floor is not None:
        axes.axhline(floor, color="black", linestyle="--", linewidth=0.8)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    if log:
        axes.set(xscale="log", yscale="log")
        _plain_ticks(axes.xaxis)
        _plain_ticks(axes.yaxis)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return show(figure, alt)


def _plain_ticks(axis):
    """Ticks of a logarithmic axis, as people write numbers: 0.05, not 5e-02."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def plot_schedule(schedules, alt):
    """How fast the signal fades: what multiplies x_0, and the signal-to-noise ratio in decibels, by the part of the way t / T.

    schedules: {label: Schedule}, one to four; from t = 1, as at 0 the ratio is infinite.
    """
    if not 1 <= len(schedules) <= 4:
        raise ValueError(f"schedules: expected one to four, by label; received {len(schedules)}")
    figure, (rates, ratios) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    lines = zip(schedules.items(), (BLUE, ORANGE, GREEN, GREY), ("-", "--", "-.", ":"), strict=False)
    for (label, schedule), color, style in lines:
        way = np.arange(1, schedule.T + 1) / schedule.T
        rates.plot(way, schedule.signal_rate[1:], color=color, linestyle=style, linewidth=2, label=label)
        ratios.plot(way, 10 / np.log(10) * schedule.log_snr[1:], color=color, linestyle=style, linewidth=2, label=label)
    ratios.axhline(0, color="black", linewidth=0.6)
    rates.set(xlabel="t / T", ylabel=r"signal rate, $\sqrt{\bar\alpha_t}$", ylim=(0, 1))
    ratios.set(xlabel="t / T", ylabel="signal-to-noise ratio, dB")
    figure.legend(*rates.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return show(figure, alt)


def plot_unet(model, alt):
    """A `unet.unet` as the U that it is: a bar for each step, as high as its image and as wide as it has channels.

    Below a bar stand its positions and channels. Arrows follow the data: on, down, up, and across for the skips, each of which
    ends at the part of a bar that it brings, beside what comes from below. Their labels name what makes a grey bar. A row of
    its own shows where the time enters. Lengths are in inches.
    """
    steps = _unet_steps(model)
    sides = sorted({image.shape[1] for image, *_ in steps}, reverse=True)
    heights = {side: max(1.2 * side / sides[0], 0.25) for side in sides}
    middles = {side: -sum(heights[above] + 0.65 for above in sides[:level]) for level, side in enumerate(sides)}
    middles = {side: top - heights[side] / 2 for side, top in middles.items()}
    inch = 0.6 / max(image.shape[3] for image, *_ in steps)
    right, bars, lifts, before = 0.0, {}, Counter(), None

    figure, axes = plt.subplots()
    for image, parts, color, operation in steps:
        _, side, _, channels = image.shape
        width, middle, top = max(inch * channels, 0.04), middles[side], middles[side] + heights[side] / 2
        slot = max(width, 0.36)  # as wide as its label
        slack = (slot - width) / 2
        along = operation if before and middle == before.middle else ""  # stands above the arrow, which must be as long
        gap = max(0.13, 0.2 + 0.055 * len(along) - slack - before.slack) if along else 0.13
        left, right = right + gap + slack, right + gap + slot
        center, end = left + width / 2, left
        for part, part_color in zip(parts, (color, GREEN), strict=False):
            begin, end = end, end + width * part.shape[3] / channels
            axes.bar(begin, heights[side], end - begin, middle - heights[side] / 2, align="edge", color=part_color)
            if len(parts) > 1 and end - begin > 0.13:
                axes.text((begin + end) / 2, middle, part.shape[3], ha="center", va="center", fontsize=7, color="white")
        label = f"{side}\u00d7{side}\n{channels}"
        axes.text(center, middle - heights[side] / 2 - 0.05, label, ha="center", va="top", fontsize=8, linespacing=1.1)
        if before and middle < before.middle:
            _arrow(axes, (before.right, before.middle), (center, top), "angle,angleA=0,angleB=90,rad=0")
            axes.text(center + 0.04, (before.middle + top) / 2, operation, ha="left", va="center", fontsize=7)
        elif before and middle > before.middle:
            _arrow(axes, (before.center, before.top), (left, middle), "angle,angleA=90,angleB=0,rad=0")
            axes.text(before.center - 0.04, (before.top + middle) / 2, operation, ha="right", va="center", fontsize=7)
        elif before:
            _arrow(axes, (before.right, middle), (left, middle))
            axes.text((before.right + left) / 2, middle + 0.02, operation, ha="center", va="bottom", fontsize=7)
        if len(parts) > 1:
            source, goal = bars[id(parts[1])], (begin + end) / 2
            lifts[side] += 1
            lift = top + 0.05 + 0.12 * lifts[side]
            axes.plot([source.center, source.center, goal], [top, lift, lift], color=GREEN, linewidth=1.2)
            _arrow(axes, (goal, lift), (goal, top), color=GREEN)
        before = bars[id(image)] = SimpleNamespace(right=left + width, center=center, middle=middle, top=top, slack=slack)

    x, row = (right - 3.1) / 2, middles[sides[-1]] - heights[sides[-1]] / 2 - 0.65
    for text, width in ("t", 0.05), ("sinusoids, dense layers", 1.3):
        axes.text(x, row, text, va="center", fontsize=8)
        _arrow(axes, (x + width + 0.05, row), (x + width + 0.25, row))
        x += width + 0.3
    axes.text(x, row, "every residual block", va="center", fontsize=8, color=BLUE)

    names = {GREY: "input, convolution, resizing", BLUE: "residual block, told t", ORANGE: "self-attention", GREEN: "skip"}
    axes.set(xlim=(0, right + 0.13), ylim=(row - 0.15, 0.1 + 0.12 * lifts[sides[0]]))
    axes.set_position((0, 0, 1, 1))
    axes.axis("off")
    figure.set_size_inches(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim()))
    handles = [Patch(color=color, label=name) for color, name in names.items()]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, frameon=False, fontsize=8)
    return show(figure, alt)


def animate(frames, alt, *, fps=10, columns=8, low=-1.0, scale=None):
    """A process as a moving picture that plays forever, each frame a grid of images; the last is held for two seconds.

    frames: (frames, N, H, W, C), values and low as for `show_images`, in colour at most 12 frames of 4 images, as noise does
    not compress; scale: screen pixels a pixel, by default 3, or 2 in colour. An animated PNG, which JupyterLab, GitHub and
    nbconvert all play (nbconvert drops a GIF).
    """
    sheets, durations, scale = _film(frames, fps, columns, low, scale)
    stored = scale if sheets.ndim == 3 else 1  # colours are enlarged by the page: 0.5 MB of noise would grow to 0.7 MB at 2
    data = iio.imwrite("<bytes>", _enlarged(sheets, stored), extension=".png", duration=durations, loop=0)
    return _picture(data, alt, shown=scale / stored)


def save_gif(path, frames, *, fps=10, columns=8, low=-1.0, scale=None):
    """Write the same moving picture as a looping GIF; arguments as for `animate`. A failed write harms no older file."""
    path = Path(path)
    if path.suffix != ".gif":
        raise ValueError(f"path: expected a name that ends in .gif; received {str(path)!r}")
    sheets, durations, scale = _film(frames, fps, columns, low, scale)
    data = iio.imwrite("<bytes>", _enlarged(sheets, scale), extension=".gif", duration=durations, loop=0)
    with files.replacing(path) as unfinished:
        unfinished.write_bytes(data)


def sliders(draw, *, button=None, **ranges):
    """A picture with sliders below it: `draw(**values)` is called again when one is moved, or when the button is pressed.

    draw: gives a picture, as all functions here do; a ValueError that it raises is shown in the picture's place. ranges: for each
    of its arguments (low, high) or (low, high, step), floats or integers, for a slider that begins in the middle; or a string,
    for a field in which one types, and which begins with it. button: the words on it, or None for none; with one, the first
    picture too waits until it is pressed. Gives a widget, which a notebook shows as a cell's last line.
    """
    # No Output widget, as `interact` makes: executing a notebook with one hangs now and then (nbclient, issue 312).
    handles = {name: _handle(name, span) for name, span in ranges.items()}
    picture, press = widgets.HTML(), widgets.Button(description=button or "")

    def redraw(_=None):
        press.disabled = True
        try:
            image = draw(**{name: handle.value for name, handle in handles.items()})
        except ValueError as error:
            picture.value = f"<p>{escape(str(error))}</p>"
            return
        finally:
            press.disabled = False
        source = f"data:image/{image.format};base64,{b64encode(image.data).decode()}"
        picture.value = f'<img src="{source}" width="{image.width}" alt="{escape(image.metadata["alt"])}">'

    if button:
        press.on_click(redraw)
    else:
        redraw()
        for handle in handles.values():
            handle.observe(redraw, "value")
    box = widgets.VBox([*handles.values(), *[press] * bool(button), picture])
    box.add_class("lessons-sliders")
    return box


def _handle(name, span):
    """A slider, or a field for text."""
    later = {"description": name, "continuous_update": False}  # a picture takes a moment
    if isinstance(span, str):
        return widgets.Text(value=span, layout={"width": "90%"}, **later)
    whole = all(isinstance(one, int) for one in span)
    low, high, step = (*span, 1 if whole else (span[1] - span[0]) / 100)[:3]
    middle = (low + high) // 2 if whole else (low + high) / 2
    return (widgets.IntSlider if whole else widgets.FloatSlider)(min=low, max=high, step=step, value=middle, **later)


def canvas(picture, fill, *, radius=2.5):
    """A picture of which parts can be rubbed out, with the mouse or a finger; a button has them drawn anew.

    picture: (H, W, C), values and C as for `show_images`. fill(known, mask): called when the button is pressed, with the picture
    and booleans, (H, W, 1), true where nothing is rubbed out; gives another such picture, of which parts can be rubbed out in
    turn. radius: how far the rubber reaches, in pixels of the picture. A second button brings the first picture back. Gives a
    widget, which a notebook shows as a cell's last line.
    """
    first = _checked("picture", picture, 3)
    height, width = first.shape[:2]
    zoom = max(1, BOARD // max(height, width))
    board = Canvas(width=zoom * width, height=zoom * height, layout={"width": f"{zoom * width}px", "border": "1px solid #ccc"})
    press, back, note = widgets.Button(description="fill"), widgets.Button(description="as it was"), widgets.Label()
    now, known, last = first, np.ones((height, width, 1), bool), None

    def redraw(told="Rub something out."):
        pixels = np.where(known, np.broadcast_to(_pixels(now, -1.0), (height, width, 3)), HOLE)
        pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 1)), constant_values=255)  # without alpha it would be sent as a JPEG
        board.put_image_data(_enlarged(pixels[None].astype(np.uint8), zoom)[0])
        note.value = told

    def rub(x, y):
        nonlocal known, last
        here = np.array([x, y]) / zoom
        known = known & ~_stroke((height, width), here if last is None else last, here, radius)[..., None]
        last = here
        redraw("Rub out more, or press the button.")

    def go_on(x, y):
        if last is not None:
            rub(x, y)

    def lift(*_):
        nonlocal last
        last = None

    def change(to):
        nonlocal now, known
        drawn = _checked("fill", to, 3)
        if drawn.shape != first.shape:
            raise ValueError(f"fill: expected a picture of shape {first.shape}; received {drawn.shape}")
        now, known = drawn, np.ones_like(known)
        redraw()

    def fill_it(_):
        if known.all():
            return
        press.disabled, note.value = True, "One moment."
        try:
            change(fill(now, known))
        except Exception as error:  # which the page would not show
            note.value = f"{type(error).__name__}: {error}"
            raise
        finally:
            press.disabled = False

    board.on_client_ready(redraw)  # a page that is opened again has an empty board
    board.on_mouse_down(rub)
    board.on_mouse_move(go_on)
    board.on_touch_start(lambda touches: rub(*touches[0]))
    board.on_touch_move(lambda touches: go_on(*touches[0]))
    for end in (board.on_mouse_up, board.on_mouse_out, board.on_touch_end, board.on_touch_cancel):
        end(lift)
    press.on_click(fill_it)
    back.on_click(lambda _: change(first))
    redraw()
    box = widgets.VBox([board, widgets.HBox([press, back, note])])
    box.add_class("lessons-canvas")
    return box


def _stroke(shape, start, end, radius):
    """Which pixels, (H, W), have their centres within radius of the line from start to end, each (x, y) in pixels."""
    rows, columns = np.indices(shape) + 0.5
    points, way = np.stack([columns, rows], axis=-1) - start, end - start
    along = np.clip(points @ way / max(way @ way, 1e-9), 0, 1)
    return np.linalg.norm(points - along[..., None] * way, axis=-1) <= radius


def progress(items, total, label, note=lambda: "", *, done=0):
    """Go through `items` under one updating line: label, bar, count, time left, and what `note()` says.

    done: how many of the total were done before. The time left is judged by the last seconds (RECENT), so that it follows a
    machine that becomes slower. In the end one line stays, with the time it took, also after an error or an interrupt. Outside
    a notebook only that line is printed.
    """
    shell = get_ipython()
    notebook = shell is not None and hasattr(shell, "kernel")
    line = _progress(items, total, label, note, done, notebook)
    if notebook:  # an interrupted cell keeps the line alive, with the rest of its variables

        def close(_):
            if inspect.getgeneratorstate(line) != inspect.GEN_CREATED:  # else a later cell goes through it
                line.close()
                shell.events.unregister("post_run_cell", close)

        shell.events.register("post_run_cell", close)
    return line


def _progress(items, total, label, note, before, notebook):
    start = shown = last = time.monotonic()
    line = display({"text/plain": f"{label}: starting"}, raw=True, display_id=True) if notebook else None
    here, recent, count = 0, 0.0, 0.0  # items; and the recent past, which fades: its seconds and its items
    try:
        for item in items:
            yield item
            here += 1
            now = time.monotonic()
            took, last = now - last, now
            kept = np.exp(-took / RECENT) if here > 2 else 0.0  # the first item, in which all is compiled, is forgotten
            recent, count = kept * recent + took, kept * count + 1
            if notebook and now - shown > 0.5:
                shown, done = now, before + here
                bar = "█" * round(20 * done / total)
                left = recent / count * (total - done)
                text = f"{label} |{bar:<20}| {done}/{total}, {left:.0f} s left {note()}"
                line.update({"text/plain": text}, raw=True)
    finally:  # also when the loop is left early
        resumed = f"{before + here} of {total}, {here} of them" if before else here
        text = f"{label}: {resumed} in {time.monotonic() - start:.0f} s {note() if here else ''}".rstrip()
        line.update({"text/plain": text}, raw=True) if notebook else print(text)


def fit_progress(steps, label):
    """The same line for `fit`: a callback that goes through so many steps, and notes the losses.

    A run that goes on from a checkpoint begins with the steps that are done.
    """
    losses, line = {}, None

    def note():
        return ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())

    def begin(epoch, logs):
        nonlocal line
        if line is None:
            done = epoch * callback.params["steps"]  # Keras', in an epoch
            line = progress(range(steps - done + 1), steps, label, note, done=done)  # one more: the last losses come after it
            next(line)

    def step(batch, logs):
        losses.update(logs)
        next(line, None)

    callback = LambdaCallback(
        on_epoch_begin=begin,
        on_train_batch_end=step,
        on_epoch_end=lambda epoch, logs: losses.update(logs),
        on_train_end=lambda logs: line and line.close(),
    )
    return callback


def _unet_steps(model):
    """The steps of a `unet.unet` in their order: its image, the parts that are side by side in it, its colour, its operation."""
    made_by = {id(layer.output): layer for layer in model.layers}
    steps = []

    def operation(layer):
        kind = type(layer).__name__
        if kind == "Conv2D" and layer.strides[0] == 1:
            return "norm, conv" if type(made_by[id(layer.input)]).__name__ == "AdaptiveGroupNorm" else "conv"
        grows = kind == "Rearrange" and layer.output.shape[1] > layer.input.shape[1]
        return {"Conv2D": "stride 2", "UpSampling2D": "\u00d72", "Rearrange": "unfold" if grows else "fold"}.get(kind, "")

    for layer in model.layers:
        kind, image = type(layer).__name__, layer.output
        if kind == "Concatenate":
            steps.append((image, layer.input, GREY, ""))
        elif kind == "Add":  # to a shortcut
            attention = type(made_by[id(layer.input[1])]).__name__ == "Dense"
            steps.append((image, [image], ORANGE if attention else BLUE, ""))
        elif kind in ("Rearrange", "UpSampling2D") or (kind == "Conv2D" and layer.use_bias) or layer.name == "x_t":
            steps.append((image, [image], GREY, operation(layer)))
    return steps


def _arrow(axes, start, end, path="arc3", color="black"):
    how = {"arrowstyle": "-|>,head_width=0.16,head_length=0.3", "connectionstyle": path, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops={**how, "color": color, "linewidth": 1})


def _checked(argument, values, rank):
    """A float array of that rank, its images of 1 or 3 channels, or an error that names the argument."""
    values = np.asarray(values)
    if rank > 1 and values.dtype.kind != "f":
        raise TypeError(f"{argument}: expected floats (of pixels, data.to_unit makes them); received {values.dtype}")
    values = values.astype(np.float32)
    if values.ndim != rank:
        raise ValueError(f"{argument}: expected {rank} axes; received shape {values.shape}")
    if rank > 1 and (values.shape[-1] not in (1, 3) or not values.size):
        raise ValueError(f"{argument}: expected some images of 1 or 3 channels; received shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{argument}: expected finite values; received {np.sum(~np.isfinite(values))} NaN or infinite ones")
    return values


def _check_count(argument, value):
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{argument}: expected a positive integer; received {value!r}")


def _sheet(images, columns, low):
    """Images (N, H, W, C) on one uint8 sheet with a light gap of 2 pixels; greys as ink on paper."""
    if not low < 1:
        raise ValueError(f"low: expected less than 1, the other end of the range; received {low!r}")
    _check_count("columns", columns)
    pixels = _pixels(images, low)
    columns = min(columns, len(pixels))
    missing = -len(pixels) % columns
    pixels = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=255)
    pixels = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=225)
    return rearrange(pixels, "(r n) h w c -> (r h) (n w) c", n=columns)


def _pixels(images, low):
    """Images, (..., H, W, C), as uint8; greys as ink on paper."""
    pixels = np.rint((images.clip(low, 1) - low) * (255 / (1 - low))).astype(np.uint8)
    return 255 - pixels if pixels.shape[-1] == 1 else pixels


def _shown(figure, alt, photo, density=2):
    """A figure as `show` gives it, as large on the page if it has half as many pixels an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=7 * density / DPI, metadata={"Software": None})
    plt.close(figure)
    pixels = iio.imread(buffer.getvalue(), extension=".png")[..., :3]  # nothing shines through; a tenth less to store
    return _picture(iio.imwrite("<bytes>", pixels, extension=".png", optimize=True), alt, shown=4 / 3 / density, photo=photo)


def _drawn(sheet, density):
    """A figure full of those images, so many pixels an inch, and its axes."""
    figure = Figure(figsize=(sheet.shape[1] / density, sheet.shape[0] / density))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return figure, axes


def _film(frames, fps, columns, low, scale):
    """Sheets, (frames, height, width) if grey, their durations in milliseconds, and the scale."""
    if not 0 < fps <= 50:
        raise ValueError(f"fps: expected more than 0 and at most 50; received {fps!r}")
    frames = _checked("frames", frames, 5)
    colour = frames.shape[-1] == 3
    scale = scale if scale is not None else 2 if colour else 3
    _check_count("scale", scale)
    if len(frames) < 2:
        raise ValueError(f"frames: expected at least 2, as one does not move; received {len(frames)}")
    fewer = f"frames[::-{-(-len(frames) // 12)}][::-1]"  # with the last one
    for what, received, most, part in ("frames", len(frames), 12, fewer), ("images", frames.shape[1], 4, "frames[:, :4]"):
        if colour and received > most:
            raise ValueError(
                f"frames: expected at most {most} {what} in colour, as more would make the notebook too large; "
                f"received {received}. Show a part of them, for example {part}"
            )
    sheets = np.stack([_sheet(images, columns, low) for images in frames])
    return sheets if colour else sheets[..., 0], [1000 / fps] * (len(sheets) - 1) + [2000], scale


def _enlarged(sheets, scale):
    return sheets.repeat(scale, axis=1).repeat(scale, axis=2)


def _picture(data, alt, *, shown, photo=False):
    """PNG bytes as a picture with alt text, shown at so many times its size; a photo as a JPEG where that is smaller."""
    if not alt or not alt.strip():
        raise ValueError(f"alt: expected a sentence for those who cannot see the figure; received {alt!r}")
    width, kind = int.from_bytes(data[16:20], "big"), "png"  # where every PNG has its width
    if photo:
        pixels = iio.imread(data, extension=".png")[..., :3]
        jpeg = iio.imwrite("<bytes>", pixels, extension=".jpg", **JPEG)
        data, kind = min((data, kind), (jpeg, "jpeg"), key=lambda one: len(one[0]))
    return Image(data=data, format=kind, metadata={"alt": alt}, width=round(width * shown))  # as Colab's old IPython takes it
