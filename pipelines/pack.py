"""Pack one video into a file that answers questions without the video."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import pipelines.source
from pipelines.source import PackedSource, VideoSource, open_source
from pipelines.terminal import Progress, format_bytes
from vidzip.errors import BadArgument


@dataclass(frozen=True, kw_only=True)
class PackRequest:
    """A video, the file to write, and its precision.

    Attributes:
        source: the video and the model.
        file: the path of the packed video.
        dtype: precision of its tokens; ``"auto"`` keeps half precision and rounds float32 to float16.
    """

    source: VideoSource
    file: str
    dtype: str = "auto"


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedPack:
    """A packed video and its file."""

    request: PackRequest
    opened: PackedSource
    size_bytes: int
    save_seconds: float


def pack(request: PackRequest, progress: Progress) -> SavedPack:
    """Pack a video and save it.

    Raises:
        VidzipError: the video, the file or a setting is wrong; before a model is loaded if possible.
    """
    source = request.source
    if source.is_pack:
        raise BadArgument(f"{source.path!r} is already a packed video", hint="ask about it, or give a video to pack")

    from vidzip.models.placing import DTYPES
    from vidzip.packing import check_place

    check_place(request.file)
    opened = open_source(source, progress)
    progress("save", 0, 1)
    began = time.perf_counter()
    opened.packed.save(request.file, dtype=DTYPES.get(request.dtype))
    return SavedPack(
        request=request,
        opened=opened,
        size_bytes=os.path.getsize(request.file),
        save_seconds=time.perf_counter() - began,
    )


def record(packed: SavedPack) -> dict[str, Any]:
    """Describe the result for JSON."""
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


def summary(packed: SavedPack) -> list[tuple[str, str]]:
    """Describe the result in table rows."""
    rows = pipelines.source.summary(packed.opened, _seconds(packed))
    return [*rows[:2], ("file", f"{packed.request.file}, {format_bytes(packed.size_bytes)}"), *rows[2:]]


def _seconds(packed: SavedPack) -> dict[str, float]:
    return {**packed.opened.packed.stage_seconds, "save": packed.save_seconds}
