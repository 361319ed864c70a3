"""Files that are there as a whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Within `with replacing(path) as unfinished:` write that file instead, beside `path`, whose place it takes in the end.

    Makes the folder. After an error or an interrupt `path` is as it was, and what was written is deleted.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name("unfinished." + path.name)  # with its ending, by which some writers choose the format
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
