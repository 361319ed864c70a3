"""What several test files share."""

import os

os.environ.setdefault("LESSONS_PROFILE", "smoke")

import coverage
import numpy as np
import pytest
import tensorflow_datasets as tfds
from browser import chromium

from lessons_lib import glyphs


def pytest_sessionfinish():
    """What this process has covered is saved now: one that takes more than ten seconds to leave is killed by pytest-xdist."""
    if running := coverage.Coverage.current():
        running.save()


@pytest.fixture
def few_glyphs(tmp_path, monkeypatch):
    """A TFDS folder of our own with 60 + 20 glyphs, prepared on first use."""
    monkeypatch.setattr(glyphs, "COUNTS", {"train": 60, "test": 20})
    return tmp_path / "tfds"


@pytest.fixture(scope="module")
def browser():
    """Chromium, for those tests that look at pages."""
    with chromium() as one:
        yield one


@pytest.fixture
def offline(tmp_path):
    """An environment where nothing is prepared and nothing can be fetched, all its files below `tmp_path`."""
    kept = {k: v for k, v in os.environ.items() if k.lower() not in ("tfds_data_dir", "no_proxy")}
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    places = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TFDS_DATA_DIR": str(tmp_path / "data")}
    return kept | closed | places


class WordsOnly(tfds.core.GeneratorBasedBuilder):
    """A data set without images; it is refused before anything is prepared."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"name": tfds.features.Text()}))

    def _split_generators(self, dl_manager):
        raise AssertionError("prepared for nothing")

    def _generate_examples(self):
        raise AssertionError("prepared for nothing")


class OddSizes(tfds.core.GeneratorBasedBuilder):
    """Six colour images, each of another shape, left half red and right half blue, with words and boxes in varying numbers."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "name": tfds.features.Text(),
            "words": tfds.features.Sequence(tfds.features.Text()),
            "both": {"boxes": tfds.features.Sequence(tfds.features.Tensor(shape=(4,), dtype=np.float32)), "count": np.int32},
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(6):
            image = np.zeros((20 + 2 * i, 40, 3), np.uint8)
            image[:, :20, 0] = 255
            image[:, 20:, 2] = 255
            words, boxes = ["red", "and", "blue"][: i % 3 + 1], [np.float32([0, 0, 1, 1])] * (i + 1)
            yield i, {"image": image, "name": f"image {i}", "words": words, "both": {"boxes": boxes, "count": i}}


class DeepPixels(tfds.core.GeneratorBasedBuilder):
    """One image of 16 bits."""

    VERSION = tfds.core.Version("1.0.0")
    KIND = np.uint16

    def _info(self):
        image = tfds.features.Image(shape=(8, 8, 1), dtype=self.KIND, encoding_format="png" if self.KIND is np.uint16 else None)
        features = {"image": image, "label": tfds.features.ClassLabel(num_classes=2)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        raise AssertionError("prepared for nothing")

    def _generate_examples(self):
        raise AssertionError("prepared for nothing")


class FloatPixels(DeepPixels):
    """One image of floats."""

    VERSION = tfds.core.Version("1.0.0")
    KIND = np.float32
