"""Compression methods: from every token of every frame to the few that are kept. One file a method.

A method takes :class:`~vidzip.features.FrameFeatures` and counts of tokens a frame, and returns
:class:`ZippedFrames`. It is pure torch, batched over frames, deterministic, and waits for no device.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from vidzip.compress.counts import Counts
from vidzip.compress.stride import stride
from vidzip.compress.visionzip import visionzip
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import FrameFeatures

METHODS: dict[str, Callable[..., ZippedFrames]] = {
    "visionzip": visionzip,
    "stride": stride,
}

__all__ = ["METHODS", "ZippedFrames", "stride", "visionzip", "zip_frames"]


def zip_frames(
    features: FrameFeatures, tokens_per_frame: Counts, method: str = "visionzip", **options: Any
) -> ZippedFrames:
    """Compress frames with the method of that name.

    Args:
        features: F frames of S tokens each.
        tokens_per_frame: tokens to keep, one integer or one a frame; 0 gives a frame none, S or more keeps it whole.
        method: a name in :data:`METHODS`.
        options: the method's own keyword arguments, such as ``merge="mean"``.

    Raises:
        BadArgument: an unknown method or option, or counts that the method refuses.
    """
    if method not in METHODS:
        raise BadArgument(f"unknown method {method!r}", hint=f"use one of {', '.join(METHODS)}")
    compress = METHODS[method]
    known = inspect.signature(compress).parameters
    unknown = [name for name in options if name not in known]
    taken = ", ".join(name for name in known if name not in ("features", "tokens_per_frame"))
    if unknown:
        raise BadArgument(
            f"{method} has no option {', '.join(map(repr, unknown))}",
            hint=f"it takes {taken or 'none'}",
        )
    return compress(features, tokens_per_frame, **options)
