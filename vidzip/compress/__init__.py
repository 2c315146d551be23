"""Compression methods: from every token of every frame to the few that are kept. One file a method.

:func:`zip_frames` takes :class:`~vidzip.features.FrameFeatures`, how many tokens to keep, and a method, and returns
:class:`ZippedFrames`. A method is a :class:`Method` with a line in :data:`METHODS`: pure torch, batched over frames,
deterministic, and it waits for no device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vidzip.compress.attention import Attention
from vidzip.compress.counts import Counts, at_most, per_frame, share
from vidzip.compress.coverage import Coverage
from vidzip.compress.facility_location import FacilityLocation
from vidzip.compress.fastvid import FastVid
from vidzip.compress.flashvid import FlashVid
from vidzip.compress.holitom import HoliTom
from vidzip.compress.method import Method, Option
from vidzip.compress.pool import Pool
from vidzip.compress.random import Random
from vidzip.compress.stride import Stride
from vidzip.compress.uncompressed import Uncompressed
from vidzip.compress.unified_st import UnifiedSt
from vidzip.compress.visionzip import VisionZip, visionzip
from vidzip.compress.visionzip_adaptive import AdaptiveVisionZip
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import FrameFeatures
from vidzip.planner import Budget

METHODS: dict[str, type[Method]] = {
    "visionzip": VisionZip,
    "visionzip-adaptive": AdaptiveVisionZip,
    "attention": Attention,
    "fastvid": FastVid,
    "holitom": HoliTom,
    "flashvid": FlashVid,
    "coverage": Coverage,
    "facility-location": FacilityLocation,
    "unified-st": UnifiedSt,
    "stride": Stride,
    "random": Random,
    "pool": Pool,
    "none": Uncompressed,
}
"""All methods, by the names that people use."""

__all__ = [
    "METHODS",
    "Method",
    "Option",
    "ZippedFrames",
    "describe",
    "make_method",
    "read_method",
    "visionzip",
    "zip_frames",
]


def zip_frames(
    features: FrameFeatures,
    tokens_per_frame: Counts | None = None,
    method: str | Method = "visionzip",
    *,
    total_tokens: int | None = None,
    **options: Any,
) -> ZippedFrames:
    """Compress frames with a method.

    Args:
        features: F frames of S tokens each.
        tokens_per_frame: tokens to keep, one integer or one a frame; 0 gives a frame none, S or more keeps it whole.
            A method across frames keeps as many in all, and shares them out by itself.
        method: a name in :data:`METHODS`, or a method with its options.
        total_tokens: in place of ``tokens_per_frame``: tokens to keep in all, B. Frame i gets
            ``floor((i+1)B/F) - floor(iB/F)`` of them, and none where there are too few; past F times S, all tokens are
            kept. 136 where neither is given.
        options: the method's own, where it is given by its name, such as ``merge="mean"``.

    Returns:
        Just so many tokens.

    Raises:
        BadArgument: an unknown method or option, a value that is none for it, both counts, counts that are negative,
            not integers, on a GPU, or of another number than the frames, or counts that the method cannot spend.
    """
    chosen = make_method(method, options)
    num_frames, size = features.num_frames, features.tokens_per_frame
    if tokens_per_frame is None:
        counts = share(Budget.total_tokens if total_tokens is None else total_tokens, num_frames, size)
    elif total_tokens is None:
        counts = at_most(size, per_frame(tokens_per_frame, num_frames, "tokens_per_frame"))
    else:
        raise BadArgument("tokens_per_frame and total_tokens were both given", hint="give one or the other")
    chosen.check_counts(counts, size)
    with torch.autocast(features.hidden.device.type, enabled=False):  # it would compare and average in half precision
        return chosen.compress(features, counts)


def make_method(method: str | Method, options: Mapping[str, Any] | None = None) -> Method:
    """Make the method of a name, with options; one that is made already is given back.

    Args:
        method: a name in :data:`METHODS`, or a method.
        options: values by name, where there is a name; the others keep their defaults.

    Raises:
        BadArgument: an unknown method or option, a value that is none for it, or options beside a method.
    """
    if isinstance(method, Method):
        if options:
            raise BadArgument(
                f"{describe(method)} was given with {', '.join(map(repr, options))} beside it",
                hint="set options where the method is made, or give its name",
            )
        return method
    return _named(method).of(method, options or {})


def read_method(name: str, options: Mapping[str, str]) -> Method:
    """Make the method of a name, with options as a command line has them: ``{"merge": "mean"}``.

    Raises:
        BadArgument: an unknown method or option, or a value that is none for it.
    """
    return _named(name).of(name, options, is_text=True)


def describe(method: Method) -> str:
    """Name a method, with those of its options that are not at their defaults: ``visionzip(merge=mean)``."""
    kind = type(method)
    name = next((name for name, known in METHODS.items() if known is kind), kind.__name__)
    changed = ", ".join(f"{key}={value}" for key, value in method.changed().items())
    return f"{name}({changed})" if changed else name


def _named(name: str) -> type[Method]:
    if name not in METHODS:
        raise BadArgument(f"unknown method {name!r}", hint=f"use one of {', '.join(METHODS)}")
    return METHODS[name]
