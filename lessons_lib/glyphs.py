"""The built-in data set: printed digits, drawn on the spot with the fonts that matplotlib ships. Needs no download."""

import functools
from pathlib import Path

import matplotlib
import numpy as np
import tensorflow_datasets as tfds
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from PIL import Image, ImageFilter

SIZE = 28
COUNTS = {"train": 12_000, "test": 4_000}
FACES = (  # that matplotlib has shipped since 3.10
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmmi10"),
)


@functools.cache
def _outline(face, digit):
    """The digit's outline, 1 high and centred on the origin."""
    file = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf")
    path = TextPath((0, 0), str(digit), size=100, prop=FontProperties(fname=file))
    box = path.get_extents()
    return path.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2).scale(1 / box.height))


def draw(digit, rng):
    """One printed digit: (28, 28, 1) uint8, bright on black, as in MNIST.

    digit: 0..9; rng: a NumPy Generator, which chooses typeface, size, slant, rotation, stroke width, place and blur.
    """
    if not isinstance(digit, int | np.integer) or not 0 <= digit <= 9:
        raise ValueError(f"digit: expected 0..9; received {digit!r}")
    outline = _outline(FACES[rng.integers(len(FACES))], digit)
    height = rng.uniform(15, 21)
    place = (
        Affine2D()
        .scale(height * rng.uniform(0.8, 1.15), height)
        .skew(rng.normal(0, 0.12), 0)
        .rotate(rng.normal(0, 0.13))
        .translate(*(SIZE / 2 + rng.uniform(-1.5, 1.5, size=2)))
    )
    # A white outline thickens the strokes, a black one thins them.
    stroke = rng.uniform(-0.3, 1.9)
    pen = GraphicsContextBase()
    pen.set_linewidth(abs(stroke))
    pen.set_foreground("white" if stroke > 0 else "black")

    canvas = RendererAgg(SIZE, SIZE, dpi=72)
    canvas.draw_path(pen, outline, place, rgbFace=(1.0, 1.0, 1.0))
    rgba = np.array(canvas.buffer_rgba()).astype(np.float32)
    brightness = rgba[..., 0] * rgba[..., 3] / 255  # what is drawn in black is opaque too
    blurred = Image.fromarray(brightness.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7)))
    ink = np.array(blurred, dtype=np.float32)
    return np.rint(ink * (255 / ink.max())).astype(np.uint8)[..., None]


class Glyphs(tfds.core.GeneratorBasedBuilder):
    """Printed digits with MNIST's features: `image` (28, 28, 1) uint8, `label` 0..9. The same on every machine."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Digits drawn with the fonts that matplotlib ships, under random affine maps and stroke widths.",
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Image(shape=(SIZE, SIZE, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split):
        for index in range(COUNTS[split]):
            rng = np.random.default_rng([list(COUNTS).index(split), index])
            label = int(rng.integers(10))
            yield index, {"image": draw(label, rng), "label": label}
