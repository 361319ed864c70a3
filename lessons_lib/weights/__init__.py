"""Trained weights that come with the library, NAME.weights.h5, and beside each its card, NAME.json: where they are from."""

import hashlib
import json
import os
from pathlib import Path

import h5py
from keras import Model

FOLDER = Path(__file__).parent


class WeightsError(ValueError):
    """Weights that are damaged, or are another network's; the message says what to do."""


def write(model, path, card):
    """Save a functional model's weights as `path`, NAME.weights.h5, and `card`, a dict for JSON, with their SHA-256 as NAME.json.

    Each file is there as a whole or not at all, the card last: weights without the card that fits them are refused by `read`.
    """
    path = Path(path)
    if not path.name.endswith(".weights.h5"):
        raise ValueError(f"path: expected a name that ends in .weights.h5; received {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name("unfinished." + path.name)
    try:
        Model(model.inputs, model.outputs, name=model.name).save_weights(unfinished)  # without its optimizer's numbers
        card = json.dumps({**card, "sha256": sha256(unfinished)}, indent=1) + "\n"
        os.replace(unfinished, path)
        unfinished.write_text(card)
        os.replace(unfinished, _card(path))
    finally:
        unfinished.unlink(missing_ok=True)


def read(path):
    """The card of weights that are whole. Raises WeightsError if they, or it, are missing or not what the card says."""
    path = Path(path)
    try:
        card = dict(json.loads(_card(path).read_text()))
        received = sha256(path)
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path.name}: expected the weights and their card, {_card(path).name}; received {error}") from error
    if received != card.get("sha256"):
        raise WeightsError(
            f"{path.name}: expected SHA-256 {card.get('sha256')}, as its card says; received {received}. The file is damaged or "
            "another one; restore it from the repository, or train it again."
        )
    return card


def load_into(model, path):
    """Give a model the weights of `path`, and return their card. Raises WeightsError, also if they are another network's."""
    card = read(path)
    try:
        if (arrays := _arrays(path)) != len(model.weights):  # Keras would pass over those that are too many
            raise ValueError(f"received {arrays} arrays")
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise WeightsError(
            f"{Path(path).name}: expected the weights of {model.name}, {model.count_params():,} numbers in {len(model.weights)} "
            f"arrays; {error}"
        ) from error
    return card


def _arrays(path):
    names = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return len(names)


def _card(path):
    return path.with_name(path.name.removesuffix(".weights.h5") + ".json")


def sha256(path):
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
