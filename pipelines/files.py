"""Folders that one run writes at a time, and text as whole files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from vidzip.errors import WriteError
from vidzip.files import whole_file


def write_text(path: str, text: str) -> None:
    """Write a whole file of text, in UTF-8.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    with whole_file(path) as file:
        file.write(text.encode())


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
