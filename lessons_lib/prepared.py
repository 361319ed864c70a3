"""TFDS's data sets on this machine: found, prepared once, or refused by a message that says what to do."""

import contextlib
import functools
import io
import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import platformdirs
import requests
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError  # TFDS brings the version that it can use

from lessons_lib import glyphs, scenes  # noqa: F401  (importing them registers their names with TFDS)

BUILT_IN = ("glyphs", "scenes")


class DataError(RuntimeError):
    """A data set that is damaged or cannot be had; the message says what to do, `reason` in a few words why."""

    def __init__(self, message, reason=""):
        super().__init__(message)
        self.reason = reason


def builder(name, data_dir=None):
    """TFDS's builder of that name, which knows the features of a data set that need not be there yet."""
    if name in BUILT_IN and data_dir is None:
        data_dir = platformdirs.user_cache_path("lessons_lib") / "tensorflow_datasets"  # never a folder of the user's
    elif data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR") or _brought_along(name)
    data_dir = data_dir and Path(data_dir).expanduser()  # TFDS would make a folder named ~
    try:
        return tfds.builder(name, data_dir=data_dir)
    except ParseError as error:
        where = (data_dir or Path(tfds.core.constants.DATA_DIR).expanduser()) / name
        raise DataError(
            f"{name} is damaged: a dataset_info.json in {where} cannot be read. "
            f"Remove that version's folder and call again, or copy a whole one there."
        ) from error
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError) as error:
        built_in = " or ".join(map(repr, BUILT_IN))
        raise ValueError(f"name: expected a data set of TFDS, or {built_in}; received {name!r}") from error


@functools.cache
def _brought_along(name):
    """The TFDS folder with that set which a course's own folder holds, so that it is found however Jupyter was started."""
    for course in (Path(__file__).parents[1], Path.cwd().parent):
        folder = course / "tensorflow_datasets"
        if (folder / name).is_dir():
            print(f"{name} is taken from {folder}.")
            return folder
    return None


def make_ready(builder):
    """Prepare a data set if it is not there, and refuse it if it is not whole."""
    if not Path(builder.data_dir).exists():
        prepare(builder)
    _check(builder)


def prepare(builder):
    """Download and prepare, telling in one line; a failure says what to do by hand, and leaves nothing half-made."""
    urls = getattr(builder, "url_infos", None) or {}
    where = Path(builder.data_dir)
    by_hand = f"copy a prepared folder {builder.name}/{builder.version} into {where.parent.parent}"
    manual = where.parent.parent / "downloads" / "manual"  # TFDS looks here before it downloads
    if urls:
        saved = "\n".join(f"  {info.filename}  from  {url}" for url, info in urls.items())
        by_hand += f",\nor save these files in {manual} and call again:\n{saved}"
    elif builder.name in BUILT_IN:
        by_hand = "set XDG_CACHE_HOME to a folder that can be written"
    missing = [url for url, info in urls.items() if not (manual / str(info.filename)).exists()]
    reason = _unreachable(missing[0]) if missing else None
    if reason:
        raise DataError(f"{builder.name} is not in {where} and cannot be downloaded ({reason}). By hand: {by_hand}", reason)
    print(f"Preparing {builder.name}, once.")
    tfds.disable_progress_bar()
    try:
        where.parents[1].mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(where.parents[1] / f".{builder.name}.lock"):  # of two processes, the second waits for the first
            if not where.exists():
                with contextlib.redirect_stdout(io.StringIO()):
                    builder.download_and_prepare()
    except Exception as error:  # TFDS lets through whatever the network, the disk or a checksum raised
        if not where.exists():
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{builder.name} could not be prepared in {where}: {reason}\nBy hand: {by_hand}", reason) from error
    builder.info.read_from_directory(where)  # what another process prepared


def _unreachable(url, seconds=5):
    """Why a download would fail, or None. TFDS itself retries for minutes (three and a half, with no network)."""
    answer = []

    def ask():
        try:
            requests.head(url, timeout=seconds)
            answer.append(None)
        except requests.RequestException as error:
            answer.append(f"no connection to {urlsplit(url).hostname}: {type(error).__name__}")

    thread = threading.Thread(target=ask, daemon=True)  # looking a name up has no time-out of its own
    thread.start()
    thread.join(2 * seconds)
    return answer[0] if answer else f"no answer from {urlsplit(url).hostname} in {2 * seconds} seconds"


def _check(builder):
    """Refuse a folder with a file missing or cut short: TFDS would notice in the middle of a training run, or never."""
    where = Path(builder.data_dir)
    remedy = f"Remove {where} and call again (it is then prepared anew), or copy a whole one there."
    if not (where / "dataset_info.json").is_file():
        raise DataError(f"{builder.name} is half-prepared: {where} has no dataset_info.json. {remedy}")
    for split in builder.info.splits.values():
        files = [Path(file) for file in split.filepaths]
        if missing := [file.name for file in files if not file.is_file()]:
            raise DataError(f"{builder.name} is half-prepared: {where} lacks {', '.join(missing)}. {remedy}")
        expected = split.num_bytes + 16 * split.num_examples  # a TFRecord adds a length and two checksums
        received = sum(file.stat().st_size for file in files)
        if builder.info.file_format is tfds.core.FileFormat.TFRECORD and received != expected:
            raise DataError(
                f"{builder.name} is damaged: the {split.name} files in {where} have {received} bytes, not {expected}. {remedy}"
            )


def read(examples, count, builder):
    """All examples as arrays. Reading everything at once also finds what the size does not show: a flipped bit."""
    try:
        batch = next(iter(examples.batch(count)))
    except tf.errors.DataLossError as error:  # a checksum, or the end of a file, is not where it should be
        where = builder.data_dir
        raise DataError(
            f"{builder.name} is damaged: {where} cannot be read ({error.message.splitlines()[0]}). "
            f"Remove that folder and call again, or copy a whole one there."
        ) from error
    return tf.nest.map_structure(lambda values: values.numpy(), batch)
