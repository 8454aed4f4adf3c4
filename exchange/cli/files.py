"""Files that commands write: whole and on the disk in their place, or not there at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exchange.problems import Conflict


class FileThere(Conflict):
    """There is such a file already."""

    remedy = "Choose another name, or say --force."


def refuse_there(file: Path, *, force: bool) -> None:
    """Refuse to write over a file unasked. Raises FileThere."""
    if file.exists() and not force:
        raise FileThere(f"{file} is there.")


@contextmanager
def finished(file: Path, *, force: bool) -> Iterator[Path]:
    """Give a file to write to, for its owner alone; put it in its place once it is whole. Raises FileThere."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.", suffix=".part")
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        sync(unfinished)
        put(unfinished, file, force=force)
    finally:
        unfinished.unlink(missing_ok=True)


def put(unfinished: Path, file: Path, *, force: bool) -> None:
    """Give a whole file its name. Raises FileThere."""
    if force:
        unfinished.replace(file)
    else:
        try:
            # Unlike a renaming, this fails where somebody made such a file meanwhile.
            file.hardlink_to(unfinished)
        except FileExistsError:
            raise FileThere(f"{file} is there.") from None
    sync(file.parent)


def sync(path: Path) -> None:
    """Have what was written reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
