"""Files that are whole or not there: whatever ends a run, no reader ever finds half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from vidzip.video.writing import PARTIAL, cannot_write


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """Open a file to write that appears, or takes the old one's place, once the block has ended well.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    partial = path + PARTIAL
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # what was wrong before is what to say
            os.remove(partial)


def write_text(path: str, text: str) -> None:
    """Write a whole file of text, in UTF-8.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    with whole_file(path) as file:
        file.write(text.encode())
