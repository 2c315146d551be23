"""Decoder libraries behind one interface.

Each module in :data:`BACKENDS` has ``decode_frames(request) -> Generator[DecodedFrame, None, None]``, which yields a
frame for every timestamp, in order, upright and in the requested shape.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

from vidzip.errors import BadArgument

if TYPE_CHECKING:  # load a decoder, which a list of the names does not need
    from vidzip.video.conversion import DecodedFrame
    from vidzip.video.request import DecodeRequest

Backend: TypeAlias = "Callable[[DecodeRequest], Generator[DecodedFrame, None, None]]"

BACKENDS = {
    "pyav": "vidzip.video.backends.pyav",
    "torchcodec": "vidzip.video.backends.torchcodec",
    "decord": "vidzip.video.backends.decord",
}
"""Modules by name."""

DEFAULT_BACKEND = "pyav"


def find_backend(name: str) -> Backend:
    """Return a decoder by its name; ``auto`` is the default one, which supports every file.

    Raises:
        BadArgument: the name is unknown.
        BackendUnavailable: its library is not installed, or does not run here.
    """
    module = BACKENDS.get(DEFAULT_BACKEND if name == "auto" else name)
    if module is None:
        raise BadArgument(f"unknown decoder {name!r}", hint=f"use one of auto, {', '.join(BACKENDS)}")
    backend: Backend = importlib.import_module(module).decode_frames
    return backend
