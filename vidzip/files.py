"""Files and folders that are whole or not there: written beside their place, then moved into it. Standard library only."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from vidzip.errors import DiskFull, WriteError

PARTIAL = ".part"
"""What the name of a file or folder ends in until it is whole."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where a disk, a quota or a file's largest size is reached."""


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """Open a file to write that appears, or takes the old one's place, once the block has ended well.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    with whole_path(path) as partial, open(partial, "wb") as file:
        yield file


@contextmanager
def whole_path(path: str) -> Iterator[str]:
    """Yield where to write a file that appears, or takes the old one's place, once the block has ended well.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    with _beside(path, os.remove) as partial:
        yield partial


@contextmanager
def whole_folder(path: str) -> Iterator[str]:
    """Make a folder that appears, or takes the old one's place, once the block has ended well; it yields where to write.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    if os.path.ismount(path):
        raise WriteError(f"{path!r} cannot be written as a whole: a disk begins there", hint="give a folder within it")
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
        _check_name(partial)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError, ValueError):  # what was wrong before is what to say
            remove(partial)


def _check_name(path: str) -> None:
    """Make sure that a file can have a name: where it holds a null, say, Python raises no OSError of its own.

    Raises:
        OSError: it cannot.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error


def cannot_write(name: str, error: Exception) -> WriteError:
    """Turn what the system says about a file that cannot be written into an error of ours, to be raised."""
    if getattr(error, "errno", None) in _NO_ROOM:
        return DiskFull(f"there is no room to write {name!r}", hint="free some space, or choose another folder")
    return WriteError(f"{name!r} cannot be written: {error}", hint="check the folder and its permissions")
