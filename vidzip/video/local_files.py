"""Checks of a local file before any decoder opens it. Standard library only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from vidzip.errors import NotAVideo, VideoNotFound

_GIF_SIGNATURE = b"GIF8"


@contextmanager
def open_file(name: str) -> Iterator[BinaryIO]:
    """Open a regular file that is not empty. The name is never interpreted as a URL or pattern.

    Raises:
        VideoNotFound: there is no such file, or it cannot be read.
        NotAVideo: it is a folder, a device, or an empty file.
    """
    try:
        status = os.stat(name)
        _check_regular(name, status)
        opened = open(name, "rb")  # noqa: SIM115 - closed by the block below
    except FileNotFoundError as error:
        raise VideoNotFound(
            f"there is no file {name!r}", hint="check the path; a relative one starts in the current folder"
        ) from error
    except (OSError, ValueError) as error:
        raise VideoNotFound(
            f"{name!r} cannot be opened: {error_text(error)}", hint="check the path and its permissions"
        ) from error
    with opened as file:
        yield file


def is_gif(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a GIF by its signature. All frames of a GIF depend on the first one.

    Raises:
        VideoNotFound, NotAVideo: as :func:`open_file`.
    """
    with open_file(os.fspath(path)) as file:
        return has_gif_signature(file)


def has_gif_signature(file: BinaryIO) -> bool:
    """Whether an open file is a GIF by its signature; resets the file to its start."""
    signature = file.read(len(_GIF_SIGNATURE))
    file.seek(0)
    return signature == _GIF_SIGNATURE


def error_text(error: Exception) -> str:
    """Return the message of FFmpeg or the system, without error numbers and file names."""
    return str(getattr(error, "strerror", None) or error)


def _check_regular(name: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise NotAVideo(f"{name!r} is a folder", hint="give a video file in it")
    if not stat.S_ISREG(status.st_mode):
        raise NotAVideo(f"{name!r} is not a regular file", hint="save the stream to a file first")
    if status.st_size == 0:
        raise NotAVideo(f"{name!r} is empty (0 bytes)", hint="download or record it again")
