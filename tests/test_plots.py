import io
import os
import re
import struct
import subprocess
import sys
import types

import imageio.v3 as iio
import keras
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image as Picture
from scipy import ndimage

from lessons_lib import plots, schedule, unet

RNG = np.random.default_rng(0)
DIGITS = RNG.uniform(-1, 1, size=(10, 28, 28, 1)).astype(np.float32)
PHOTOS = ndimage.zoom(RNG.uniform(-1, 1, size=(4, 8, 8, 3)), (1, 8, 8, 1))  # smooth, as photographs are
GREYS = ndimage.zoom(RNG.uniform(-1, 1, size=(4, 3, 3, 1)), (1, 64 / 3, 64 / 3, 1))  # as JPEGs they would be smaller
GREYS = (GREYS + RNG.normal(scale=0.02, size=GREYS.shape)).astype(np.float32)
NOISE = np.random.default_rng(1).normal(size=(14, 5, 64, 64, 3)).astype(np.float32)


def opened(image):
    return np.asarray(Picture.open(io.BytesIO(image.data)).convert("RGB"))


def told(image):
    """A picture's MIME type, and what a notebook keeps about it."""
    data, metadata = image._repr_mimebundle_()
    (kind,) = data
    return kind, metadata[kind]


def by_hand(photo):
    """A lesson's own figure of it."""
    figure = Figure(figsize=(2, 2))
    figure.add_axes((0, 0, 1, 1)).imshow((photo.clip(-1, 1) + 1) / 2, interpolation="bicubic")
    return figure


@pytest.mark.parametrize(
    "draw",
    [
        lambda alt: plots.show(Figure(), alt, photo=True),
        lambda alt: plots.show_images(PHOTOS, alt),
        lambda alt: plots.show_filmstrip([PHOTOS, PHOTOS], alt),
        lambda alt: plots.show_captioned(PHOTOS, ["a red ring"] * len(PHOTOS), alt),
        lambda alt: plots.animate(np.stack([PHOTOS, -PHOTOS]), alt),
        lambda alt: plots.show(Figure(), alt),
        lambda alt: plots.show_images(DIGITS, alt),
        lambda alt: plots.show_filmstrip([DIGITS, DIGITS], alt),
        lambda alt: plots.plot_loss([2.0, 1.0], alt),
        lambda alt: plots.plot_schedule({"linear": schedule.linear(10)}, alt),
        lambda alt: plots.plot_estimates({"one": {1: 2.0}}, alt, labels=("x", "y")),
        lambda alt: plots.plot_unet(unet.unet(8, 1, (8,), 1), alt),
        lambda alt: plots.animate(np.stack([DIGITS, -DIGITS]), alt),
    ],
)
def test_every_figure_has_alt_text(draw):
    assert told(draw("what it shows"))[1]["alt"] == "what it shows"
    with pytest.raises(ValueError, match="alt: expected a sentence"):
        draw("  ")


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (lambda: plots.show_images(PHOTOS, "x"), "image/jpeg"),
        (lambda: plots.show_filmstrip([PHOTOS, -PHOTOS], "x", row_labels="ab"), "image/jpeg"),
        (lambda: plots.show_images(PHOTOS[:, :1, :1].repeat(64, axis=1).repeat(64, axis=2), "x"), "image/png"),  # flat
        (lambda: plots.show_filmstrip(NOISE[:2], "x"), "image/png"),
        (lambda: plots.show_images(GREYS, "x"), "image/png"),
        (lambda: plots.show_filmstrip([GREYS], "x"), "image/png"),
        (lambda: plots.animate(np.stack([PHOTOS, -PHOTOS]), "x"), "image/png"),
        (lambda: plots.show(by_hand(PHOTOS[0]), "x"), "image/png"),
        (lambda: plots.show(by_hand(PHOTOS[0]), "x", photo=True), "image/jpeg"),
    ],
)
def test_colour_is_a_jpeg_where_that_is_smaller(draw, kind):
    image = draw()
    assert told(image)[0] == kind
    assert Picture.open(io.BytesIO(image.data)).get_format_mimetype() == (kind if b"acTL" not in image.data else "image/apng")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.show_images(PHOTOS, "x"),
        lambda: plots.show_filmstrip([PHOTOS, -PHOTOS], "x", row_labels=["one row", "another"], column_labels="abcd"),
    ],
)
def test_a_jpeg_shows_what_the_png_does(draw, monkeypatch):
    jpeg, write = draw(), plots.iio.imwrite

    def larger(*rest, extension, **options):
        return bytes(10**6) if extension == ".jpg" else write(*rest, extension=extension, **options)

    monkeypatch.setattr(plots.iio, "imwrite", larger)
    png = draw()
    assert (jpeg.format, png.format) == ("jpeg", "png")
    assert len(jpeg.data) < len(png.data)
    assert told(jpeg)[1] == told(png)[1]  # the same alt text and width
    off = np.abs(opened(jpeg).astype(int) - opened(png))  # of 255
    assert off.mean() < 2
    assert np.quantile(off, 0.999) < 20  # with colours at half the resolution, 35 and more, at the edges


def test_large_images_fit_a_page_and_are_stored_pixel_by_pixel():
    """In films, which have labels, twice as large."""
    greys = NOISE[0, :3, ..., :1]  # which no JPEG changes
    sheet = plots._sheet(greys, 3, -1)
    image, film = plots.show_images(greys, "x", columns=3), plots.show_filmstrip([greys], "x")
    inside = opened(image)[7:-7, 7:-7], opened(film)[14:-14, 14:-14]  # without the margin, a tenth of an inch on the page
    assert Picture.open(io.BytesIO(image.data)).mode == "RGB"  # no alpha, which nobody would see
    for one, other in zip(inside, (sheet, sheet.repeat(2, axis=0).repeat(2, axis=1)), strict=True):
        np.testing.assert_allclose(one, np.broadcast_to(other, one.shape).astype(int), atol=1)
    assert image.width == film.width == pytest.approx(4 / 3 * (sheet.shape[1] + 14), abs=1)
    assert plots.show_images(NOISE[:8, 0], "x").width < 730
    assert plots.show_filmstrip([NOISE[:8, 0]], "x").width < 730


def test_the_sheet_holds_every_pixel_once():
    """Greys as ink on paper: -1 is white, 1 black; images stand in reading order with gaps of two pixels."""
    images = np.stack([np.full((3, 4, 1), value, np.float32) for value in (-1, 1, 0)])
    sheet = plots._sheet(images, columns=2, low=-1)
    assert sheet.shape == (2 * 5, 2 * 6, 1)
    inside = [sheet[1:4, 1:5], sheet[1:4, 7:11], sheet[6:9, 1:5], sheet[6:9, 7:11]]
    assert [np.unique(x).tolist() for x in inside] == [[255], [0], [127], [255]]


def test_low_sets_the_range():
    images = np.zeros((1, 2, 2, 1), np.float32)
    assert plots._sheet(images, 1, low=0)[1, 1] == 255
    assert plots._sheet(images, 1, low=-1)[1, 1] == 127


def test_colours_stay_as_they_are():
    red = np.zeros((1, 2, 2, 3), np.float32) - 1
    red[..., 0] = 1
    assert plots._sheet(red, 1, low=-1)[1, 1].tolist() == [255, 0, 0]


def test_a_grid_shows_its_images():
    black = opened(plots.show_images(np.ones((4, 28, 28, 1)), "black", columns=2))
    white = opened(plots.show_images(-np.ones((4, 28, 28, 1)), "white", columns=2))
    assert black.mean() < 100 < 240 < white.mean()


def test_captions_stand_above_their_images_and_wrong_ones_are_crossed(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, alt, photo: figures.append(figure))
    images = np.stack([np.full((8, 8, 3), value, np.float32) for value in (-1, 0, 1)])
    told = ["a red ring", "a small purple heart to the left of a star", "a box"]
    plots.show_captioned(images, told, "x", wrong=[False, True, False], columns=2)
    shown = figures[0].axes
    assert [axes.get_title() for axes in shown] == [told[0], "\u2717 a small purple\nheart to the left of\na star", told[2], ""]
    assert [axes.title.get_color() for axes in shown[:3]] == ["black", plots.ORANGE, "black"]
    assert [np.unique(axes.images[0].get_array()).tolist() for axes in shown[:3]] == [[0], [128], [255]]
    assert not shown[3].images
    plots.show_captioned(images, told, "x")
    assert [axes.get_title()[0] for axes in figures[1].axes] == ["a"] * 3


def test_captions_are_counted():
    with pytest.raises(ValueError, match="captions: expected 3, one for each image; received 2"):
        plots.show_captioned(PHOTOS[:3], ["a ring", "a box"], "x")
    with pytest.raises(ValueError, match="wrong: expected 3, one for each image; received 1"):
        plots.show_captioned(PHOTOS[:3], ["a ring"] * 3, "x", wrong=[True])


def test_labels_are_counted():
    with pytest.raises(ValueError, match="row_labels: expected 2 labels, or none; received 1"):
        plots.show_filmstrip([DIGITS, DIGITS], "x", row_labels=["a"])
    with pytest.raises(ValueError, match="column_labels: expected 10 labels, or none; received 3"):
        plots.show_filmstrip([DIGITS, DIGITS], "x", column_labels="abc")


def test_labels_stand_at_the_middle_of_their_images(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, alt, photo: figures.append(figure))
    plots.show_filmstrip([DIGITS, DIGITS], "x", row_labels="ab", column_labels="abcdefghij")
    axes = figures[0].axes[0]
    for ticks, count in ((axes.get_xticks(), 10), (axes.get_yticks(), 2)):
        np.testing.assert_allclose(ticks, 30 * np.arange(count) + 14.5, atol=0.5)  # 28 pixels and a gap of 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (DIGITS[0], r"images: expected 4 axes; received shape \(28, 28, 1\)"),
        (np.zeros((2, 3, 3, 2)), r"images: expected some images of 1 or 3 channels; received shape \(2, 3, 3, 2\)"),
        (np.zeros((0, 3, 3, 1)), r"images: expected some images of 1 or 3 channels; received shape \(0, 3, 3, 1\)"),
        (np.full((1, 2, 2, 1), np.nan), "images: expected finite values; received 4 NaN or infinite ones"),
    ],
)
def test_bad_images_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        plots.show_images(images, "x")


@pytest.mark.parametrize("losses", [[], [1.0, 0.0], [-1.0]])
def test_losses_are_positive(losses):
    with pytest.raises(ValueError, match="losses: expected positive numbers; received"):
        plots.plot_loss(losses, "x")


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_baseline_is_drawn(count, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots.plt.Axes, "axhline", lambda axes, y, **_: drawn.append(y))
    plots.plot_loss([2.0, 1.0, 0.5], "x", baselines={f"answer {i}": 1.0 + i for i in range(count)})
    assert drawn == [1.0 + i for i in range(count)]


@pytest.mark.parametrize(
    ("losses", "ticks"), [([0.02, 0.09], ["0.02", "0.05"]), ([1e-4, 2.0], ["0.0001", "0.001", "0.01", "0.1", "1"])]
)
def test_ticks_are_written_as_people_write_them(losses, ticks, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: figures.append(figure))
    plots.plot_loss(losses, "x")
    axis = figures[-1].axes[0].yaxis
    figures[-1].canvas.draw()
    low, high = axis.get_view_interval()
    labels = [
        text.get_text()
        for place, text in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        if low <= place <= high
    ]
    assert labels == ticks
    assert not any(text.get_text() for text in axis.get_ticklabels(minor=True))


def test_pixels_are_not_taken_for_images():
    with pytest.raises(TypeError, match=r"images: expected floats .*data.to_unit.*; received uint8"):
        plots.show_images(np.zeros((1, 2, 2, 1), np.uint8), "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": 0}, "columns: expected a positive integer; received 0"),
        ({"columns": 1.5}, "columns: expected a positive integer; received 1.5"),
        ({"low": 1}, "low: expected less than 1, the other end of the range; received 1"),
    ],
)
def test_bad_layouts_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.show_images(DIGITS, "x", **arguments)


def drawn(monkeypatch, schedules):
    """The figure that `plot_schedule` draws, and its two panels."""
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: figures.append(figure))
    plots.plot_schedule(schedules, "x")
    plots.plt.close(figures[0])
    return figures[0], *figures[0].axes


def test_schedules_are_drawn_by_part_of_the_way(monkeypatch):
    schedules = {"linear": schedule.linear(50), "cosine": schedule.cosine(200)}
    _, rates, ratios = drawn(monkeypatch, schedules)
    for line, one in zip(rates.lines, schedules.values(), strict=True):
        np.testing.assert_allclose(line.get_xdata(), np.arange(1, one.T + 1) / one.T)
        np.testing.assert_allclose(line.get_ydata(), np.sqrt(one.alpha_bar[1:]))
    for line, one in zip(ratios.lines, schedules.values(), strict=False):  # and a thin one at 0 dB
        np.testing.assert_allclose(line.get_ydata(), 10 * np.log10(one.alpha_bar[1:] / (1 - one.alpha_bar[1:])), atol=1e-9)


def test_schedules_differ_in_more_than_colour(monkeypatch):
    figure, rates, ratios = drawn(monkeypatch, {name: schedule.cosine(20) for name in "abcd"})
    for lines in (rates.lines, ratios.lines[:4]):
        assert len({line.get_color() for line in lines}) == len({line.get_linestyle() for line in lines}) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list("abcd")


@pytest.mark.parametrize("number", [0, 5])
def test_one_to_four_schedules_fit_a_figure(number):
    with pytest.raises(ValueError, match=f"schedules: expected one to four, by label; received {number}"):
        plots.plot_schedule(dict.fromkeys(range(number), schedule.linear(10)), "x")


def test_estimates_are_drawn_with_their_errors(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: figures.append(figure))
    curves = {"with": {1: (2.0, 0.5), 10: (3.0, 0.25)}, "without": {1: 4.0}}
    for log in (True, False):
        plots.plot_estimates(curves, "x", labels=("steps", "distance"), log=log, floor=1.5)
        axes = figures[-1].axes[0]
        first, second = axes.containers
        np.testing.assert_array_equal(first.lines[0].get_xydata(), [[1, 2], [10, 3]])
        bars = first.lines[2][0].get_segments()
        np.testing.assert_allclose(bars, [[[1, 1.5], [1, 2.5]], [[10, 2.75], [10, 3.25]]])
        np.testing.assert_array_equal(second.lines[0].get_xydata(), [[1, 4]])
        assert axes.lines[-1].get_ydata() == [1.5, 1.5]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "distance")
        assert axes.get_xscale() == axes.get_yscale() == ("log" if log else "linear")
        assert [text.get_text() for text in figures[-1].legends[0].get_texts()] == ["with", "without"]
        plots.plt.close(figures[-1])


def test_six_curves_differ_in_colour_and_marker(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: figures.append(figure))
    plots.plot_estimates({name: {1: 1.0} for name in "abcdef"}, "x", labels=("", ""))
    lines = [container.lines[0] for container in figures[0].axes[0].containers]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 6
    plots.plt.close(figures[0])


@pytest.mark.parametrize("number", [0, 7])
def test_one_to_six_curves_fit_a_figure(number):
    with pytest.raises(ValueError, match=f"curves: expected one to six, by label; received {number}"):
        plots.plot_estimates({key: {1: 1.0} for key in range(number)}, "x", labels=("", ""))


@pytest.mark.parametrize(
    ("curve", "floor", "message"),
    [
        ({1: 2.0, 2: (0.0, 1.0)}, None, "curves: expected positive numbers on logarithmic axes, or .*; received 0.0 in 'one'"),
        ({1: 2.0, 2: -1.0}, None, "curves: expected positive .* received -1.0 in 'one'"),
        ({0: 2.0}, None, "curves: expected positive .* received 0 in 'one'"),
        ({1: 2.0}, 0.0, "floor: expected a positive number on logarithmic axes, or log=False; received 0.0"),
    ],
)
def test_logarithmic_axes_have_no_room_for_zero(curve, floor, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_estimates({"other": {1: 1.0}, "one": curve}, "x", labels=("", ""), floor=floor)
    assert plots.plot_estimates({"one": curve}, "x", labels=("", ""), floor=floor, log=False).data


def the_u(monkeypatch, network):
    """The figure that `plot_unet` draws: axes, labels of bars, bars, and the ends of the skips' arrows."""
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: figures.append(figure))
    plots.plot_unet(network, "x")
    (axes,) = figures[0].axes
    figures[0].canvas.draw()
    plots.plt.close(figures[0])
    named = [text for text in axes.texts if "\n" in text.get_text()]
    arrows = [text for text in axes.texts if isinstance(text, Annotation)]
    assert all(arrow.arrow_patch.get_linewidth() == 1 for arrow in arrows)
    ends = [arrow.xy for arrow in arrows if arrow.arrow_patch.get_edgecolor() == to_rgba(plots.GREEN)]
    return axes, named, axes.patches, ends


def test_a_unet_is_drawn_with_all_its_steps(monkeypatch):
    axes, named, bars, _ = the_u(monkeypatch, unet.unet(16, 3, (8, 24), blocks=2, patch=2))
    # Input, patches, first convolution, two blocks; down, four with attention, bottom, and so the other way round.
    down, bottom = [3, 12, 8, 8, 8], [24] * 5 + [24] * 3
    up = [48, 24, 24] * 2 + [24, 32, 8, 16, 8, 12, 3]
    sides = [16] + [8] * 4 + [4] * 14 + [8] * 6 + [16]
    labels = [f"{side}\u00d7{side}\n{channels}" for side, channels in zip(sides, down + bottom + up, strict=True)]
    assert [text.get_text() for text in named] == labels
    heights = [bar.get_height() for bar in bars]
    np.testing.assert_allclose([heights[-1], 2 * heights[1], 4 * heights[5]], heights[0])
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["input, convolution, resizing", "residual block, told t", "self-attention", "skip"]
    colors = [(plots.BLUE, 10), (plots.ORANGE, 5), (plots.GREEN, 4)]
    assert [sum(bar.get_facecolor() == to_rgba(color) for bar in bars) for color, _ in colors] == [n for _, n in colors]


@pytest.mark.parametrize(
    ("widths", "patch", "operations"),
    [
        ((8, 24), 2, ["fold", "conv", "stride 2", "\u00d72", "norm, conv", "unfold"]),
        ((8, 8, 8), 1, ["conv", "stride 2", "stride 2", "\u00d72", "\u00d72", "norm, conv"]),
    ],
)
def test_a_drawn_unet_names_what_makes_its_grey_bars_and_where_the_time_enters(widths, patch, operations, monkeypatch):
    axes, named, _, _ = the_u(monkeypatch, unet.unet(16, 1, widths, 1, patch=patch))
    rest = [text.get_text() for text in axes.texts if text not in named and not text.get_text().isdigit()]
    assert [text for text in rest if text] == [*operations, "t", "sinusoids, dense layers", "every residual block"]


def test_every_skip_of_a_drawn_unet_ends_at_the_channels_that_it_brings(monkeypatch):
    axes, _, bars, ends = the_u(monkeypatch, unet.unet(16, 3, (8, 24), blocks=2, patch=2))
    skips = [bar for bar in bars if bar.get_facecolor() == to_rgba(plots.GREEN)]
    assert len(ends) == len(skips) == len(axes.lines) == 4
    for (x, y), bar, line in zip(ends, skips, axes.lines, strict=True):
        np.testing.assert_allclose((x, y), (bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height()))
        source, *_ = (b for b in bars if np.isclose(b.get_x() + b.get_width() / 2, line.get_xdata()[0]))
        assert source.get_facecolor() in (to_rgba(plots.BLUE), to_rgba(plots.ORANGE))
        np.testing.assert_allclose(source.get_width(), bar.get_width())


@pytest.mark.parametrize(
    ("size", "widths", "blocks", "patch"), [(28, (48, 96), 1, 2), (16, (8, 24), 2, 2), (32, (32, 64, 128), 1, 1), (8, (8,), 1, 1)]
)
def test_no_label_of_a_drawn_unet_covers_another_or_a_bar(size, widths, blocks, patch, monkeypatch):
    axes, named, bars, _ = the_u(monkeypatch, unet.unet(size, 1, widths, blocks, patch=patch))
    others = [text for text in axes.texts if not isinstance(text, Annotation) and not text.get_text().isdigit()]
    assert set(named) < set(others)
    boxes = [text.get_window_extent() for text in others if text.get_text()] + [axes.get_legend().get_window_extent()]
    boxes += [bar.get_window_extent() for bar in bars]
    boxes = [box.shrunk(0.99, 0.99) for box in boxes]
    assert not [(i, j) for i, one in enumerate(boxes) for j in range(i) if one.overlaps(boxes[j])]


FILM = np.stack([np.full((4, 8, 8, 1), value, np.float32) for value in (-1, -0.5, 0, 0.5, 1)])


def test_an_animation_is_an_animated_png_that_loops():
    image = plots.animate(FILM, "x", fps=5, columns=2, scale=2)
    frames = iio.imread(image.data, extension=".png", index=None)
    assert frames.shape[:3] == (5, 2 * 2 * 10, 2 * 2 * 10)
    assert [int(frame[3, 3].flat[0]) for frame in frames] == [255, 191, 127, 64, 0]
    control = image.data.index(b"acTL") + 4
    assert struct.unpack(">II", image.data[control : control + 8]) == (5, 0)  # five frames, forever
    assert image.width == 40


def test_a_gif_loops_and_holds_its_last_frame(tmp_path):
    path = tmp_path / "new" / "film.gif"
    plots.save_gif(path, FILM, fps=10, columns=2)
    with Picture.open(path) as gif:
        assert gif.info["loop"] == 0
        durations = []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
    assert durations == [100] * 4 + [2000]
    assert [p.name for p in path.parent.iterdir()] == ["film.gif"]


def test_what_nobody_asks_for_is_ten_frames_a_second_and_eight_images_a_row(tmp_path):
    nine = np.broadcast_to(FILM[:2, :1], (2, 9, 8, 8, 1))
    film = Picture.open(io.BytesIO(plots.animate(nine, "x").data))
    assert (film.size, film.info["duration"]) == ((8 * 10 * 3, 2 * 10 * 3), 100)
    plots.save_gif(tmp_path / "film.gif", nine)
    film = Picture.open(tmp_path / "film.gif")
    assert (film.size, film.info["duration"]) == ((8 * 10 * 3, 2 * 10 * 3), 100)
    grids = [plots.show_images(nine[0], "x", **columns).data for columns in ({}, {"columns": 8})]
    assert grids[0] == grids[1]


def test_films_refuse_bad_input(tmp_path):
    for name in ("film.mp4", "film.apng", "film"):
        with pytest.raises(ValueError, match=rf"path: expected a name that ends in \.gif; received '.*{name}'"):
            plots.save_gif(tmp_path / name, FILM)
    for fps in (0, 51):
        with pytest.raises(ValueError, match=f"fps: expected more than 0 and at most 50; received {fps}"):
            plots.animate(FILM, "x", fps=fps)
    with pytest.raises(ValueError, match="frames: expected 5 axes"):
        plots.animate(FILM[0], "x")
    with pytest.raises(ValueError, match="frames: expected at least 2, as one does not move; received 1"):
        plots.animate(FILM[:1], "x")
    with pytest.raises(ValueError, match="scale: expected a positive integer; received 0"):
        plots.animate(FILM, "x", scale=0)


def test_a_colour_animation_is_enlarged_by_the_page(tmp_path):
    """In the file a pixel is one pixel, whatever the scale; a GIF, which is in no notebook, holds it enlarged."""
    two, three = (plots.animate(NOISE[:2, :2], "x", **scale) for scale in ({}, {"scale": 3}))
    assert two.data == three.data
    assert iio.imread(two.data, extension=".png", index=0).shape[:2] == (66, 2 * 66)
    assert (two.width, three.width) == (2 * 2 * 66, 3 * 2 * 66)
    plots.save_gif(tmp_path / "film.gif", NOISE[:2, :2])
    assert Picture.open(tmp_path / "film.gif").size == (2 * 2 * 66, 2 * 66)


def test_the_largest_colour_animation_is_light_enough_for_a_notebook(tmp_path):
    assert len(plots.animate(NOISE[:12, :4], "x").data) < 0.6e6
    plots.save_gif(tmp_path / "film.gif", NOISE[:12, :4])


@pytest.mark.parametrize(
    ("frames", "message", "fewer"),
    [
        (NOISE[:13, :1], "at most 12 frames in colour, as .* notebook too large; received 13", lambda frames: frames[::2]),
        (NOISE[:, :1], "at most 12 frames in colour, as .* notebook too large; received 14", lambda frames: frames[1::2]),
        (NOISE[:2], "at most 4 images in colour, as .* notebook too large; received 5", lambda frames: frames[:, :4]),
    ],
)
def test_larger_colour_animations_are_refused(frames, message, fewer, tmp_path):
    for draw in (lambda frames: plots.animate(frames, "x"), lambda frames: plots.save_gif(tmp_path / "film.gif", frames)):
        with pytest.raises(ValueError, match=f"frames: expected {message}") as refused:
            draw(frames)
        draw(fewer(frames))
        draw(frames[..., :1])  # greys may be more
        advice = str(refused.value).rpartition("for example ")[2]
        np.testing.assert_array_equal(eval(advice, {"frames": frames}), fewer(frames))


def test_a_full_disk_harms_no_older_gif(tmp_path):
    code = """
import resource
import numpy as np
from lessons_lib import plots, schedule, unet
film = np.random.default_rng(0).uniform(size=(5, 16, 28, 28, 1))
plots.save_gif("film.gif", film)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    plots.save_gif("film.gif", -film)
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "[Errno 27] File too large" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]
    with Picture.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 5


def test_sliders_redraw_a_picture_with_its_alt_text():
    drawn = []

    def draw(level, count):
        drawn.append((level, count))
        return plots.show_images(np.full((count, 8, 8, 1), level, np.float32), f'At <{level:.1f}> "{count}".')

    box = plots.sliders(draw, level=(0.0, 1.0, 0.5), count=(1, 9))
    level, count, picture = box.children
    assert (level.step, count.step) == (0.5, 1)
    assert drawn == [(0.5, 5)]
    first = picture.value
    assert 'alt="At &lt;0.5&gt; &quot;5&quot;."' in first
    level.value = 1.0
    count.value = 2
    assert drawn[1:] == [(1.0, 5), (1.0, 2)]
    assert picture.value != first

    box = plots.sliders(draw, button="draw", level=(0.0, 1.0), count=(1, 9))
    level, count, press, picture = box.children
    assert (level.step, count.step) == (0.01, 1)
    count.value = 3
    assert (len(drawn), picture.value) == (3, "")
    press.click()
    assert drawn[3:] == [(0.5, 3)]
    assert picture.value.startswith('<img src="data:image/png;base64,iVBOR')


def test_a_field_takes_text_and_says_what_is_wrong_with_it():
    def draw(caption):
        if "pink" in caption:
            raise ValueError("caption: expected <colours>; received 'pink'")
        return plots.show_images(np.full((1, 8, 8, 1), len(caption) / 100, np.float32), f"{caption}.")

    field, press, picture = plots.sliders(draw, button="draw", caption="a red ring").children
    assert field.value == "a red ring"
    press.click()
    assert 'alt="a red ring."' in picture.value
    field.value = "a pink ring"
    press.click()
    assert picture.value == "<p>caption: expected &lt;colours&gt;; received &#x27;pink&#x27;</p>"
    assert not press.disabled
    field.value = "a blue ring"
    press.click()
    assert 'alt="a blue ring."' in picture.value


def on_board(box, event, x=0.0, y=0.0):
    """What the browser tells of a mouse, or of a finger, in pixels of the page."""
    told = {"x": x, "y": y, "touches": [{"x": x, "y": y}] * (event in ("touch_start", "touch_move"))}
    box.children[0]._handle_frontend_event(None, {"event": event} | told, [])


@pytest.fixture
def boards(monkeypatch):
    """What a canvas shows, one image after the other, without alpha."""
    shown = []
    monkeypatch.setattr(plots.Canvas, "put_image_data", lambda self, image: shown.append(image[..., :3]))
    return shown


@pytest.mark.parametrize(
    ("start", "move", "end"), [("mouse_down", "mouse_move", "mouse_up"), ("touch_start", "touch_move", "touch_end")]
)
def test_a_canvas_fills_what_was_rubbed_out(boards, start, move, end):
    asked = []

    def fill(known, mask):
        asked.append((known, mask))
        return np.where(mask, known, np.float32(1))

    picture = np.full((8, 16, 3), -1, np.float32)
    box = plots.canvas(picture, fill, radius=0.6)
    board, (press, back, note) = box.children[0], box.children[1].children
    assert (board.width, board.height) == (320, 160)
    assert boards[-1].shape == (160, 320, 3)
    assert not boards[-1].any()
    press.click()
    assert asked == []
    assert note.value == "Rub something out."

    on_board(box, move, 30, 30)  # not pressed
    on_board(box, start, 50, 70)  # the pixel in column 2, row 3
    on_board(box, move, 110, 70)  # to column 5
    on_board(box, end)
    on_board(box, move, 300, 150)
    hole = np.zeros((8, 16), bool)
    hole[3, 2:6] = True
    np.testing.assert_array_equal((boards[-1] == plots.HOLE).all(axis=-1), hole.repeat(20, axis=0).repeat(20, axis=1))
    press.click()
    ((known, mask),) = asked
    np.testing.assert_array_equal(known, picture)
    np.testing.assert_array_equal(mask, ~hole[..., None])
    np.testing.assert_array_equal(boards[-1][::20, ::20] == 255, hole[..., None].repeat(3, axis=-1))
    assert not press.disabled

    on_board(box, start, 310, 150)
    press.click()
    assert asked[1][0][3, 2, 0] == 1  # it goes on from what was drawn
    assert not asked[1][1][7, 15]
    assert asked[1][1].sum() == 8 * 16 - 1
    back.click()
    assert not boards[-1].any()
    on_board(box, "client_ready")  # of another page, whose board is empty
    assert len(boards) > 1
    np.testing.assert_array_equal(boards[-1], boards[-2])


def test_a_canvas_shows_ink_on_paper_and_refuses_another_picture(boards):
    picture = np.linspace(-1, 1, 28 * 28, dtype=np.float32).reshape(28, 28, 1)
    box = plots.canvas(picture, lambda known, mask: known[:, :20])
    np.testing.assert_array_equal(boards[-1][::11, ::11, 0], 255 - np.rint((picture[..., 0] + 1) * 127.5))
    on_board(box, "mouse_down", 5, 5)
    press, _, note = box.children[1].children
    press.click()
    assert note.value == "ValueError: fill: expected a picture of shape (28, 28, 1); received (28, 20, 1)"
    assert (boards[-1][:11, :11] == plots.HOLE).all()  # what was rubbed out still is
    assert not press.disabled
    with pytest.raises(ValueError, match="picture: expected 3 axes"):
        plots.canvas(picture[None], None)


def test_figures_look_the_same_for_everybody(tmp_path):
    """Whatever a personal matplotlibrc asks for."""
    (tmp_path / "matplotlibrc").write_text("image.origin: lower\ntext.usetex: True\nfont.size: 20\nsavefig.facecolor: black\n")
    code = """
import hashlib, sys
from lessons_lib import plots, schedule
import numpy as np
strip = plots.show_filmstrip(np.linspace(-1, 1, 4 * 64).astype("f").reshape(2, 2, 8, 8, 1), "A ramp.", row_labels=["a", "b"])
loss = plots.plot_loss([3.0, 2.0, 1.0], "It falls.")
print(*(hashlib.sha256(picture.data).hexdigest() for picture in (strip, loss)))
"""
    ours, plain = (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"MATPLOTLIBRC": str(place)}
        )
        for place in (tmp_path, os.devnull)
    )
    assert ours.stdout == plain.stdout != "", ours.stderr


def test_progress_outside_a_notebook_leaves_one_line(capsys):
    seen = []
    for item in plots.progress(range(5), 5, "adding", lambda: f"sum {sum(seen)}"):
        seen.append(item)
    assert capsys.readouterr().out == "adding: 5 in 0 s sum 10\n"


def test_progress_left_early_says_how_far_it_came(capsys):
    for item in plots.progress(range(5), 5, "adding"):
        if item == 2:
            break
    list(plots.progress([], 0, "nothing", lambda: [][-1]))
    assert capsys.readouterr().out == "adding: 2 in 0 s\nnothing: 0 in 0 s\n"


@pytest.mark.parametrize(("stop", "line"), [(4, "fitting: 4 in 0 s"), (2, "fitting: 2 in 0 s")])
def test_progress_of_fit_leaves_one_line(capsys, stop, line):
    image = keras.Input((1,))
    model = keras.Model(image, keras.layers.Dense(1)(image))
    model.compile("sgd", "mse")
    halt = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", 2 * epoch + 2 == stop))
    x = np.zeros((8, 1), np.float32)
    progress = plots.fit_progress(4, "fitting")
    model.fit(x, x, batch_size=4, epochs=2, validation_data=(x, x), callbacks=[progress, halt], verbose=0)
    assert re.sub(r"in \d+ s", "in 0 s", capsys.readouterr().out) == f"{line} loss 0.000, val_loss 0.000\n"


def test_progress_of_fit_ends_with_the_last_losses(capsys):
    """The last validation comes after the last step."""
    image = keras.Input((1,))
    model = keras.Model(image, keras.layers.Dense(1, kernel_initializer="ones")(image))
    model.compile("sgd", "mse")
    x = np.linspace(1, 2, 8, dtype=np.float32)
    progress = plots.fit_progress(4, "fitting")
    data = {"batch_size": 4, "epochs": 2, "validation_data": (-x, 2 * x)}
    history = model.fit(x, 2 * x, **data, callbacks=[progress], verbose=0).history
    assert len({f"{loss:.3f}" for losses in history.values() for loss in losses}) == 4
    last = f"loss {history['loss'][-1]:.3f}, val_loss {history['val_loss'][-1]:.3f}"
    assert re.sub(r"in \d+ s", "in 0 s", capsys.readouterr().out) == f"fitting: 4 in 0 s {last}\n"


def test_progress_of_a_run_that_goes_on_begins_where_it_stopped(capsys):
    image = keras.Input((1,))
    model = keras.Model(image, keras.layers.Dense(1)(image))
    model.compile("sgd", "mse")
    x = np.zeros((8, 1), np.float32)
    progress = plots.fit_progress(10, "fitting")
    model.fit(x, x, batch_size=4, initial_epoch=3, epochs=5, callbacks=[progress], verbose=0)
    assert re.sub(r"in \d+ s", "in 0 s", capsys.readouterr().out) == "fitting: 10 of 10, 4 of them in 0 s loss 0.000\n"


class Shell:
    """IPython's, as far as `progress` knows it."""

    kernel = True

    def __init__(self):
        self.called, self.events = [], self

    def register(self, event, call):
        assert event == "post_run_cell"
        self.called.append(call)

    def unregister(self, event, call):
        self.called.remove(call)

    def end_cell(self):
        for call in list(self.called):
            call("its result")


def test_progress_closes_when_its_cell_is_interrupted(monkeypatch):
    shown, shell = [], Shell()
    handle = types.SimpleNamespace(update=lambda data, raw: shown.append(data["text/plain"]))
    monkeypatch.setattr(plots, "get_ipython", lambda: shell)
    monkeypatch.setattr(plots, "display", lambda data, raw, display_id: handle)
    line, later = plots.progress(range(5), 5, "one"), plots.progress(range(5), 5, "another", done=2)
    for item in line:
        if item == 3:
            break  # as far as a KeyboardInterrupt comes
    assert not shown  # `line` lives on
    shell.end_cell()
    assert shown == ["one: 3 in 0 s"]
    assert len(list(later)) == 5  # begun in the next cell, and not closed before
    shell.end_cell()
    assert (len(shown), shell.called) == (2, [])


def test_progress_in_a_notebook_updates_one_display(monkeypatch, capsys):
    shown = []

    def display(data, raw, display_id=True):
        shown.append(data["text/plain"] if raw else data)  # which a notebook would show as a dictionary
        return types.SimpleNamespace(update=display)

    monkeypatch.setattr(plots, "get_ipython", Shell)
    monkeypatch.setattr(plots, "display", display)
    clock = iter(range(100))
    monkeypatch.setattr(plots.time, "monotonic", lambda: next(clock))
    assert list(plots.progress("ab", 2, "letters", lambda: "so far")) == ["a", "b"]
    assert shown == [
        "letters: starting",
        "letters |██████████          | 1/2, 1 s left so far",
        "letters |████████████████████| 2/2, 0 s left so far",
        "letters: 2 in 3 s so far",
    ]
    assert capsys.readouterr().out == ""


def time_left(monkeypatch, seconds, done=0):
    """{items done: seconds left, as the display tells}; `seconds`: how long each item takes, `done` of which lie behind."""
    now, told = [0.0], []
    handle = types.SimpleNamespace(update=lambda data, raw: told.append(data["text/plain"]))
    monkeypatch.setattr(plots, "get_ipython", Shell)
    monkeypatch.setattr(plots, "display", lambda data, raw, display_id: handle)
    monkeypatch.setattr(plots.time, "monotonic", lambda: now[0])
    for took in plots.progress(seconds[done:], len(seconds), "steps", done=done):
        now[0] += took
    assert told.pop().endswith(f"{len(seconds) - done}{' of them' if done else ''} in {sum(seconds[done:]):.0f} s")
    return {int(done): int(left) for done, left in re.findall(r"(\d+)/\d+, (\d+) s left", "\n".join(told))}


def test_the_first_item_in_which_all_is_compiled_is_left_out_of_the_time_left(monkeypatch):
    left = time_left(monkeypatch, [30.0] + 5 * [1.0])
    assert left == {1: 5 * 30, 2: 4, 3: 3, 4: 2, 5: 1, 6: 0}  # after the first one there is nothing else to go by


def test_the_time_left_of_a_run_that_goes_on_is_of_what_is_left(monkeypatch):
    assert time_left(monkeypatch, 100 * [1.0], done=90) == {done: 100 - done for done in range(91, 101)}


def test_the_time_left_follows_a_machine_that_becomes_half_as_fast(monkeypatch):
    left = time_left(monkeypatch, 200 * [1.0] + 100 * [2.0])
    assert left[200] == 100
    assert 0.7 < left[205] / (95 * 2.0) < 0.8  # after ten seconds
    assert 0.9 < left[215] / (85 * 2.0) < 1.0  # after thirty


def test_pauses_for_validation_hardly_move_the_time_left(monkeypatch):
    left = time_left(monkeypatch, 10 * (200 * [0.1] + [1.0]))
    off = [told * 2010 / (10 * 21.0) / (2010 - done) for done, told in left.items() if 300 < done < 1800]
    assert 0.9 < min(off) < max(off) < 1.15
