"""Opening a local file with care, before any decoder sees it; none is loaded for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from vidzip.errors import NotAVideo, VideoNotFound

_GIF = b"GIF8"
"""What a GIF begins with."""


@contextmanager
def open_file(name: str) -> Iterator[BinaryIO]:
    """Open a file that must be a regular one and not empty, whatever its name looks like.

    Raises:
        VideoNotFound: no such file, or it may not be read.
        NotAVideo: a folder, a device, or an empty file.
    """
    try:
        status = os.stat(name)
        _check_regular(name, status)
        opened = open(name, "rb")  # noqa: SIM115 - the caller's block closes it, below
    except FileNotFoundError as error:
        raise VideoNotFound(
            f"there is no file {name!r}", hint="check the path; a relative one begins in the current folder"
        ) from error
    except (OSError, ValueError) as error:
        raise VideoNotFound(
            f"{name!r} cannot be opened: {reason(error)}", hint="check the path and its permissions"
        ) from error
    with opened as file:
        yield file


def is_gif(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a GIF, whose frames all build on the first one.

    Raises:
        VideoNotFound, NotAVideo: as :func:`open_file`.
    """
    with open_file(os.fspath(path)) as file:
        return begins_as_gif(file)


def begins_as_gif(file: BinaryIO) -> bool:
    """Whether an open file begins as a GIF; it is back at its beginning then."""
    begins = file.read(len(_GIF))
    file.seek(0)
    return begins == _GIF


def _check_regular(name: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise NotAVideo(f"{name!r} is a folder", hint="give a video file in it")
    if not stat.S_ISREG(status.st_mode):
        raise NotAVideo(f"{name!r} is not a regular file", hint="save the stream to a file first")
    if status.st_size == 0:
        raise NotAVideo(f"{name!r} is empty (0 bytes)", hint="fetch or record it again")


def reason(error: Exception) -> str:
    """Say in FFmpeg's or the system's words what went wrong, without numbers and file names."""
    return str(getattr(error, "strerror", None) or error)
