"""Files and folders that are whole or not there, and that one run writes at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from vidzip.errors import WriteError
from vidzip.video.writing import PARTIAL, cannot_write


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """Open a file to write that appears, or takes the old one's place, once the block has ended well.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    with _beside(path, os.remove) as partial, open(partial, "wb") as file:
        yield file


def write_text(path: str, text: str) -> None:
    """Write a whole file of text, in UTF-8.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    with whole_file(path) as file:
        file.write(text.encode())


@contextmanager
def whole_folder(path: str) -> Iterator[str]:
    """Make a folder that appears, or takes the old one's place, once the block has ended well; it yields where to write.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    with _beside(path, shutil.rmtree) as partial:
        if os.path.lexists(partial):  # of a run that was ended at once
            shutil.rmtree(partial)
        os.makedirs(partial)
        yield partial
        if os.path.isdir(path):
            shutil.rmtree(path)


@contextmanager
def _beside(path: str, remove: Callable[[str], object]) -> Iterator[str]:
    """Yield another path to write to; what lies there then takes the first one's place, or is removed after an error."""
    partial = path + PARTIAL
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # what was wrong before is what to say
            remove(partial)


@contextmanager
def alone_in(folder: str) -> Iterator[None]:
    """Keep a second run out of a folder, where the system can lock one.

    Raises:
        WriteError: another run is in it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WriteError(
                f"another run is writing into {folder!r}", hint="wait for it to end, or give another folder"
            ) from error
        except OSError:
            pass  # some network file systems lock no folders
        yield
    finally:
        os.close(handle)
