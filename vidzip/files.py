"""Atomic writes: a file or folder appears once it is complete. Locks of folders."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import BinaryIO

from filelock import lock_descriptor

from vidzip.errors import DiskFull, WriteError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a full disk, an exhausted quota and a file size limit."""

_ABANDONED_SECONDS = 24 * 3600
"""A partial file that was not modified for so long has no writer."""


@contextmanager
def atomic_file(path: str) -> Iterator[BinaryIO]:
    """Open a file for writing; it replaces the file at the path when the block ends without an error.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` if there is no space.
    """
    with atomic_path(path) as partial, open(partial, "wb") as file:
        yield file


def write_text(path: str, text: str) -> None:
    """Write a file of text atomically, in UTF-8.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` if there is no space.
    """
    with atomic_file(path) as file:
        file.write(text.encode())


@contextmanager
def atomic_path(path: str) -> Iterator[str]:
    """Yield where to write a file; it replaces the file at ``path`` when the block ends without an error.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` if there is no space.
    """
    with _partial(path) as partial:
        yield partial
        os.replace(partial, path)


@contextmanager
def atomic_folder(path: str) -> Iterator[str]:
    """Make a folder and yield its path; it replaces the folder at ``path`` when the block ends without an error.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` if there is no space.
    """
    if os.path.ismount(path):
        raise WriteError(f"{path!r} cannot be replaced: a file system is mounted there", hint="give a folder within it")
    with _partial(path) as partial:
        os.makedirs(partial)
        yield partial
        if os.path.isdir(path):
            shutil.rmtree(path)
        os.replace(partial, path)


@contextmanager
def lock_folder(folder: str) -> Iterator[None]:
    """Lock a folder for this process, if its file system supports locks.

    Raises:
        WriteError: another process has locked it.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            if not lock_descriptor(handle, blocking=False):
                raise WriteError(
                    f"another run is writing into {folder!r}", hint="wait for it to end, or give another folder"
                )
        yield


def remove_partials(folder: str, *, min_age_seconds: float = 0.0) -> None:
    """Remove the partial files and folders that killed processes left in a folder.

    Args:
        folder: where they are; without a minimum age, no other process may write into it.
        min_age_seconds: how long they must not have been modified.
    """
    for partial in glob.glob(os.path.join(glob.escape(folder), f".*.{'[0-9a-f]' * 8}.part")):
        with suppress(OSError):
            if time.time() - os.lstat(partial).st_mtime >= min_age_seconds:
                _remove(partial)


@cache
def _remove_abandoned(folder: str) -> None:
    """Remove what killed processes left in a folder a day ago or earlier; once per process, since it takes a while."""
    remove_partials(folder, min_age_seconds=_ABANDONED_SECONDS)


def write_error(path: str, error: Exception) -> WriteError:
    """Turn an error of the operating system into one to raise for a file that cannot be written."""
    if getattr(error, "errno", None) in _NO_SPACE:
        return DiskFull(f"no space is left to write {path!r}", hint="free some space, or choose another folder")
    return WriteError(f"{path!r} cannot be written: {error}", hint="check the folder and its permissions")


@contextmanager
def _partial(path: str) -> Iterator[str]:
    """Yield a unique path beside another one; whatever is still there at the end is removed."""
    folder, name = os.path.split(path)
    partial = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.part")
    try:
        _check_name(path)
        _remove_abandoned(folder)
        yield partial
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError, ValueError):
            _remove(partial)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def _check_name(path: str) -> None:
    """Check that a file can have this name.

    Raises:
        OSError: it cannot.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except ValueError as error:  # a null character
        raise OSError(errno.EINVAL, str(error)) from error
