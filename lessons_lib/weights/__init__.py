"""Trained weights that come with the library, NAME.weights.h5, and beside each its card, NAME.json: where they are from."""

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
from keras import Model

from lessons_lib import files

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parent / "results"


class WeightsError(ValueError):
    """Weights that are damaged, or are another network's; the message says what to do."""


def find(name):
    """Where weights are: those that come with the library by their name, "digits", any others by their path."""
    return FOLDER / f"{name}.weights.h5" if isinstance(name, str) and name.isidentifier() else Path(name)


def write(model, path, card, *, dtype="float32"):
    """Save a functional model's weights as `path`, NAME.weights.h5, and `card`, a dict for JSON, with their SHA-256 as NAME.json.

    dtype: "float32", or "float16", which halves the file and rounds each number to 11 binary digits; the card says it. Raises
    ValueError for numbers beyond its range, 65504. Each file is there as a whole or not at all, the card last: weights without
    the card that fits them are refused by `read`.
    """
    path = Path(path)
    if not path.name.endswith(".weights.h5"):
        raise ValueError(f"path: expected a name that ends in .weights.h5; received {str(path)!r}")
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype: expected float32 or float16; received {dtype!r}")
    with files.replacing(path) as unfinished:
        Model(model.inputs, model.outputs, name=model.name).save_weights(unfinished)  # without its optimizer's numbers
        if dtype == "float16":
            _halve(unfinished)
        card = json.dumps({**card, "stored": dtype, "sha256": sha256(unfinished)}, indent=1) + "\n"
    with files.replacing(_card(path)) as unfinished:
        unfinished.write_text(card, "utf-8")


def read(name):
    """The card of weights, `name` as for `find`. Raises WeightsError if either is missing, or they are not what the card says."""
    path = find(name)
    try:
        card = dict(json.loads(_card(path).read_text("utf-8")))
        received = sha256(path)
    except (OSError, ValueError, TypeError) as error:
        known = ", ".join(sorted(one.name.partition(".")[0] for one in FOLDER.glob("*.weights.h5")))
        raise WeightsError(
            f"{path.name}: expected the weights and their card, {_card(path).name}; received {error}. (Packaged: {known})"
        ) from error
    if received != card.get("sha256"):
        raise WeightsError(
            f"{path.name}: expected SHA-256 {card.get('sha256')}, as its card says; received {received}. The file is damaged or "
            "another one; restore it from the repository, or train it again."
        )
    return card


def load_into(model, name):
    """Give a model weights, `name` as for `find`; their card. Raises WeightsError, also if they are another network's."""
    card, path = read(name), find(name)
    try:
        if (arrays := len(_datasets(path))) != len(model.weights):  # Keras would pass over those that are too many
            raise ValueError(f"received {arrays} arrays")
        Model(model.inputs, model.outputs, name=model.name).load_weights(path)  # its optimizer is not asked for its numbers
    except (ValueError, KeyError, OSError) as error:
        raise WeightsError(
            f"{path.name}: expected the weights of {model.name}, {model.count_params():,} numbers in {len(model.weights)} "
            f"arrays; {error}"
        ) from error
    return card


def results(lesson):
    """The expensive numbers of a lesson, "08", as `make tables` measured them: {cell: its numbers and how they were measured}.

    Raises WeightsError if there are none, or if a cell was measured with other packaged weights than those that are here.
    """
    try:
        cells = dict(json.loads((RESULTS / f"{lesson}.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"results of lesson {lesson}: expected {lesson}.json in {RESULTS.name}; received {error}") from error
    here = {name: read(name)["sha256"] for cell in cells.values() for name in cell["weights"]}
    for cell, numbers in cells.items():
        if any(here[name] != sha for name, sha in numbers["weights"].items()):
            raise WeightsError(
                f"results of lesson {lesson}: expected {cell!r} to be measured with the packaged weights, {here}; received "
                f"{numbers['weights']}. Measure it again: make tables LESSONS={lesson}"
            )
    return cells


def _datasets(path):
    """{name: array} of all that a file holds."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def _halve(path):
    """Write a file of weights anew with its numbers in 16 bits: HDF5 would not give the room of replaced ones back."""
    arrays = _datasets(path)
    worst = np.max([np.abs(array).max(initial=0) for array in arrays.values()])  # Python's max passes over NaN
    if not worst <= np.finfo(np.float16).max:
        raise ValueError(f"dtype: expected numbers within float16's range, 65504, or float32; received {worst:.3g}")
    with h5py.File(path) as file:
        groups = {}
        file.visititems(lambda name, item: groups.update({name: dict(item.attrs)}) if isinstance(item, h5py.Group) else None)
    with h5py.File(path, "w", libver=("v108", "v108")) as file:  # of 2008; in the oldest format names take a tenth of the file
        for name, attributes in groups.items():
            file.require_group(name).attrs.update(attributes)
        for name, array in arrays.items():
            file[name] = array.astype(np.float16)


def _card(path):
    return path.with_name(path.name.removesuffix(".weights.h5") + ".json")


def sha256(path):
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
