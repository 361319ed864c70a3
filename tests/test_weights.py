import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import Input, Model, layers

from lessons_lib import weights


def network(number=2, width=4):
    x = image = Input((width,))
    for _ in range(number):
        x = layers.Dense(width)(x)
    return Model(image, x, name="network")


@pytest.fixture
def saved(tmp_path):
    """A trained network, and where it was saved."""
    model = network()
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.zeros((4, 4)), verbose=0)
    path = tmp_path / "new" / "net.weights.h5"
    weights.write(model, path, {"note": "a test"})
    return model, path


def test_weights_come_back_with_their_card(saved):
    model, path = saved
    copy = network()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        card = weights.load_into(copy, path)
    for one, other in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert card == weights.read(path) == weights.read(str(path))
    assert (card["note"], len(card["sha256"])) == ("a test", 64)
    assert sorted(file.name for file in path.parent.iterdir()) == ["net.json", "net.weights.h5"]


def test_the_optimizers_numbers_are_not_saved(saved):
    with h5py.File(saved[1]) as file:
        assert "optimizer" not in file


def test_new_weights_take_the_place_of_old_ones(saved):
    _, path = saved
    other = network(3)
    weights.write(other, path, {"note": "new"})
    assert weights.read(path)["note"] == "new"
    weights.load_into(other, path)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, "expected SHA-256 .*, as its card says; received .* restore it from the repository, or train it again"),
        (lambda path: os.truncate(path, 1000), "expected SHA-256"),
        (lambda path: os.truncate(path, 0), "expected SHA-256"),
        (lambda path: path.unlink(), "expected the weights and their card, net.json; received .*No such file"),
        (lambda path: path.with_name("net.json").unlink(), "expected the weights and their card, net.json"),
        (lambda path: os.truncate(path.with_name("net.json"), 20), "expected the weights and their card, net.json"),
        (lambda path: path.with_name("net.json").write_bytes(b"\xff"), "expected the weights and their card, net.json"),
        (lambda path: path.with_name("net.json").write_text("3"), "expected the weights and their card, net.json"),
        (lambda path: path.with_name("net.json").write_text("{}"), "expected SHA-256 None"),
        (lambda path: weights.write(network(), path.with_name("other.weights.h5"), {}) or swap_cards(path), "expected SHA-256"),
    ],
)
def test_damaged_weights_are_refused(saved, damage, message):
    model, path = saved
    damage(path)
    before = model.get_weights()
    with pytest.raises(weights.WeightsError, match=f"net.weights.h5: {message}"):
        weights.load_into(model, path)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def swap_cards(path):
    os.replace(path.with_name("other.json"), path.with_name("net.json"))


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras' own words for it
@pytest.mark.parametrize("other", [network(1), network(3), network(width=5)])
def test_another_networks_weights_are_refused(saved, other):
    """Fewer arrays than the file's too, which Keras would take without a word."""
    with pytest.raises(
        weights.WeightsError, match=r"net.weights.h5: expected the weights of network, \d+ numbers in \d arrays; "
    ):
        weights.load_into(other, saved[1])


def test_a_kill_between_the_two_files_leaves_nothing_that_is_taken(saved, monkeypatch):
    _, path = saved
    replaced, replace = [], os.replace

    def replace_once(source, goal):
        if replaced:
            raise KeyboardInterrupt
        replaced.append(goal)
        replace(source, goal)

    monkeypatch.setattr(os, "replace", replace_once)
    other = network()
    with pytest.raises(KeyboardInterrupt):
        weights.write(other, path, {})
    assert replaced == [path]
    with pytest.raises(weights.WeightsError, match="expected SHA-256"):  # new weights, old card
        weights.load_into(network(), path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["net.json", "net.weights.h5"]


@pytest.mark.filterwarnings("error:Skipping variable loading")  # Keras would miss the optimizer's numbers in the file
def test_a_network_in_training_is_given_weights_too(saved):
    model, path = saved
    trained = network()
    trained.compile("adam", "mse")
    trained.fit(np.ones((4, 4)), np.zeros((4, 4)), verbose=0)
    steps = int(trained.optimizer.iterations)
    weights.load_into(trained, path)
    for one, other in zip(trained.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(trained.optimizer.iterations) == steps > 0


def test_a_failure_while_saving_leaves_the_old_weights(saved, monkeypatch):
    model, path = saved
    with pytest.raises(TypeError, match="not JSON serializable"):
        weights.write(network(), path, {"note": object()})
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            weights.write(network(), path, {})
    copy = network()
    weights.load_into(copy, path)
    np.testing.assert_array_equal(copy.get_weights()[0], model.get_weights()[0])
    assert len(list(path.parent.iterdir())) == 2


def test_sixteen_bits_round_and_halve(tmp_path):
    """To 11 binary digits: a relative error of at most 2^-11, for numbers of normal size; and nothing else changes."""
    keras.utils.set_random_seed(1)
    x = image = Input((16, 16, 3))
    for width in (64, 64):
        x = layers.BatchNormalization()(layers.Conv2D(width, 3)(x))
    model = Model(image, layers.Dense(5)(x))
    whole, half = tmp_path / "whole.weights.h5", tmp_path / "half.weights.h5"
    weights.write(model, whole, {})
    weights.write(model, half, {}, dtype="float16")
    assert half.stat().st_size < 0.62 * whole.stat().st_size
    assert [weights.read(path)["stored"] for path in (whole, half)] == ["float32", "float16"]
    copy = keras.models.clone_model(model)
    weights.load_into(copy, half)
    assert {weight.dtype for weight in copy.weights} == {"float32"}
    for one, other in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other.astype(np.float16).astype(np.float32))
        np.testing.assert_allclose(one, other, rtol=2**-11, atol=2**-25)
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    exact = model.predict_on_batch(images)
    np.testing.assert_allclose(copy.predict_on_batch(images), exact, atol=2e-3 * np.abs(exact).max())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["half.json", "half.weights.h5", "whole.json", "whole.weights.h5"]


@pytest.mark.parametrize("value", [7e4, np.inf, np.nan])
def test_what_16_bits_cannot_hold_is_refused(saved, value):
    model, path = saved
    before, large = path.read_bytes(), network()
    *others, last = large.get_weights()
    large.set_weights([*others, np.full_like(last, value)])
    with pytest.raises(ValueError, match="dtype: expected numbers within float16's range, 65504, or float32; received"):
        weights.write(large, path, {}, dtype="float16")
    assert path.read_bytes() == before
    weights.load_into(model, path)
    large.set_weights([np.full_like(array, 65504) for array in large.get_weights()])
    weights.write(large, path, {}, dtype="float16")  # the largest number that fits
    with pytest.raises(ValueError, match="dtype: expected float32 or float16; received 'int8'"):
        weights.write(model, path, {}, dtype="int8")


def test_packaged_weights_are_found_by_name_and_others_by_path(saved):
    assert weights.read("classifier") == weights.read(weights.FOLDER / "classifier.weights.h5")
    assert weights.find(str(saved[1])) == weights.find(saved[1]) == saved[1]
    with pytest.raises(
        weights.WeightsError, match=r"faces.weights.h5: expected .*No such file.*\(Packaged: .*classifier, digits"
    ):
        weights.read("faces")


@pytest.mark.parametrize("name", ["net.h5", "net.keras", "weights"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"path: expected a name that ends in \.weights\.h5; received '.*{name}'"):
        weights.write(network(), tmp_path / name, {})


def test_a_full_disk_harms_no_older_weights(tmp_path):
    code = """
import os, resource
from keras import Input, Model, layers
from lessons_lib import weights
image = Input((64,))
model = Model(image, layers.Dense(64)(image))
weights.write(model, "net.weights.h5", {})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    weights.write(model, "net.weights.h5", {})
except OSError as error:
    print("full", flush=True)
os._exit(0)  # HDF5 would try to write on
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "full\n"), done.stderr
    assert "sha256" in weights.read(tmp_path / "net.weights.h5")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.json", "net.weights.h5"]


def test_packaged_networks_are_small_and_each_serves_a_lesson():
    """A clone has to bear them all: at most 2.8 MB each, stored in 16 bits, and 36 MB together."""
    lessons = "".join(path.read_text() for path in (weights.FOLDER.parent.parent / "notebooks").glob("*.py"))
    judges = (weights.FOLDER.parent / "judges.py").read_text()
    sizes = {path.name.partition(".")[0]: path.stat().st_size for path in weights.FOLDER.glob("*.weights.h5")}
    assert {"classifier", "digits"} <= sizes.keys()
    for name, size in sizes.items():
        assert f'load_weights("{name}")' in lessons or f"{name}.weights.h5" in judges, f"{name}: no lesson draws with it"
        assert size <= 2.8e6, name
    assert sum(sizes.values()) <= 36e6


def test_the_packaged_weights_are_whole_and_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = sorted(weights.FOLDER.glob("*.weights.h5"))
    assert files
    for path in files:
        card = weights.read(path)
        assert json.loads(Path(weights.FOLDER, path.name.replace(".weights.h5", ".json")).read_text()) == card


# ---- results of lessons


@pytest.mark.parametrize("sha", ["0", "z", None])
def test_results_of_other_weights_are_refused(tmp_path, monkeypatch, sha):
    here = weights.read("digits")["sha256"]
    cells = {"one": {"value": 1.5, "weights": {"digits": here}}, "two": {"value": 2.5, "weights": {"digits": sha or here}}}
    (tmp_path / "99.json").write_text(json.dumps(cells))
    monkeypatch.setattr(weights, "RESULTS", tmp_path)
    if sha is None:
        assert weights.results("99") == cells
    else:
        with pytest.raises(weights.WeightsError, match="results of lesson 99: expected 'two' to be measured with the packaged"):
            weights.results("99")
