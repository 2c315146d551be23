"""Libraries that decode, behind one contract.

Each module that :data:`BACKENDS` names has ``pictures(request) -> Generator[Picture, None, None]``: a picture for every
moment, in order, upright and in shape.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

from vidzip.errors import BadArgument

if TYPE_CHECKING:  # a command line that only lists the names needs none of what decodes
    from vidzip.video.pictures import Picture
    from vidzip.video.request import Request

Backend: TypeAlias = "Callable[[Request], Generator[Picture, None, None]]"

BACKENDS = {
    "pyav": "vidzip.video.backends.pyav",
    "torchcodec": "vidzip.video.backends.torchcodec",
    "decord": "vidzip.video.backends.decord",
}
"""Name: module."""

DEFAULT_BACKEND = "pyav"


def find_backend(name: str) -> Backend:
    """Find a decoder by its name; ``auto`` is the one that is right for every file.

    Raises:
        BadArgument: an unknown name.
        BackendUnavailable: its library is not installed, or does not run here.
    """
    module = BACKENDS.get(DEFAULT_BACKEND if name == "auto" else name)
    if module is None:
        raise BadArgument(f"unknown decoder {name!r}", hint=f"use one of auto, {', '.join(BACKENDS)}")
    backend: Backend = importlib.import_module(module).pictures
    return backend
