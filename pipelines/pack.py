"""One video to one file, which is asked without the video."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import pipelines.source
from pipelines.source import Opened, Source, open_source
from pipelines.terminal import Progress, format_bytes
from vidzip.errors import BadArgument


@dataclass(frozen=True, kw_only=True)
class PackRequest:
    """What was asked for.

    Attributes:
        source: the video, what may be spent on it, and whose tower looks.
        file: where the packed video goes.
        dtype: what its tokens are rounded to; ``"auto"`` leaves half precision as it is, and makes float16 of others.
    """

    source: Source
    file: str
    dtype: str = "auto"


@dataclass(frozen=True, kw_only=True, eq=False)
class Packed:
    """What was packed, and the file it is in."""

    request: PackRequest
    opened: Opened
    size_bytes: int
    save_seconds: float


def pack(request: PackRequest, progress: Progress) -> Packed:
    """Pack a video and save it.

    Raises:
        VidzipError: whatever is wrong with the request; before a model is loaded, where that can be known.
    """
    source = request.source
    if source.is_pack:
        raise BadArgument(f"{source.path!r} is a packed video already", hint="ask it, or give the video to pack")

    from vidzip.models.placing import DTYPES
    from vidzip.packing import check_place

    check_place(request.file)
    opened = open_source(source, progress)
    progress("save", 0, 1)
    began = time.perf_counter()
    opened.packed.save(request.file, dtype=DTYPES.get(request.dtype))
    return Packed(
        request=request,
        opened=opened,
        size_bytes=os.path.getsize(request.file),
        save_seconds=time.perf_counter() - began,
    )


def record(packed: Packed) -> dict[str, Any]:
    """Report it as JSON takes it."""
    opened = packed.opened
    return {
        "schema": "vidzip/packed/1",
        **pipelines.source.record(opened),
        "stage_seconds": {stage: round(seconds, 6) for stage, seconds in _seconds(packed).items()},
        "method": opened.packed.method,
        "model": opened.model.name,
        "tower": opened.packed.tower,
        "video": opened.source.path,
        "file": packed.request.file,
        "bytes": packed.size_bytes,
        "warnings": list(opened.packed.warnings),
    }


def summary(packed: Packed) -> list[tuple[str, str]]:
    """Report it in a short table."""
    rows = pipelines.source.summary(packed.opened, _seconds(packed))
    return [*rows[:2], ("file", f"{packed.request.file}, {format_bytes(packed.size_bytes)}"), *rows[2:]]


def _seconds(packed: Packed) -> dict[str, float]:
    return {**packed.opened.packed.stage_seconds, "save": packed.save_seconds}
