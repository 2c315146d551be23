"""Compression methods: from all tokens of all frames to the few that are kept. One file per method.

:func:`zip_frames` takes :class:`~vidzip.features.VisionFeatures`, the number of tokens to keep, and a method, and
returns :class:`ZippedFrames`. A method is a :class:`Method` with a line in :data:`METHODS`: pure torch, batched over
frames, deterministic, and without waiting for the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch

from vidzip.compress.attention import Attention
from vidzip.compress.counts import Counts, read_counts, split_by_size
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
from vidzip.features import VisionFeatures
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
"""All methods, by name."""

__all__ = [
    "METHODS",
    "Method",
    "Option",
    "ZippedFrames",
    "describe",
    "make_method",
    "parse_method",
    "visionzip",
    "zip_frames",
]


def zip_frames(
    features: VisionFeatures | Sequence[VisionFeatures],
    tokens_per_frame: Counts | None = None,
    method: str | Method = "visionzip",
    *,
    total_tokens: int | None = None,
    **options: Any,
) -> ZippedFrames:
    """Compress frames with a method.

    Args:
        features: F frames of S source tokens each; or, if frames have different grids, one ``VisionFeatures`` for each
            run of equal grids, in order. Each run is then compressed by itself.
        tokens_per_frame: tokens to keep, one integer for all frames or one per frame; 0 drops a frame, S or more keeps
            it whole. A method across frames keeps the same number in all, and divides them among frames itself.
        method: a name in :data:`METHODS`, or a method with its options.
        total_tokens: in place of ``tokens_per_frame``: tokens to keep in all, B. Frames get tokens in proportion to
            their S; if all have the same, frame i gets ``floor((i+1)B/F) - floor(iB/F)``. If B is more than all source
            tokens, all are kept. 136 if neither is given.
        options: the method's options, if it is given by name, such as ``merge="mean"``.

    Returns:
        Exactly that many tokens.

    Raises:
        BadArgument: an unknown method or option, or a value that an option does not take; both counts; counts that are
            negative, not integers, on a GPU, not one per frame, or not possible with the method; runs of different
            towers, or of different grids for a method across frames.
    """
    chosen = make_method(method, options)
    runs = _merge_equal_grids(features)
    sizes = [run.tokens_per_frame for run in runs for _ in range(run.num_frames)]
    if tokens_per_frame is None:
        counts = split_by_size(Budget.total_tokens if total_tokens is None else total_tokens, sizes)
    elif total_tokens is None:
        wanted = read_counts(tokens_per_frame, len(sizes), "tokens_per_frame")
        counts = [min(count, size) for count, size in zip(wanted, sizes, strict=True)]
    else:
        raise BadArgument("tokens_per_frame and total_tokens were both given", hint="give one or the other")
    if len(runs) > 1 and chosen.is_across_frames:
        grids = ", ".join(f"{rows} x {columns}" for rows, columns in dict.fromkeys(run.grid for run in runs))
        raise BadArgument(
            f"{describe(chosen)} compares frames with each other, but these have the grids {grids}",
            hint="choose a method within frames, such as visionzip, or compress each run by itself",
        )
    parts = []
    with torch.autocast(runs[0].patches.device.type, enabled=False):  # choices and means need float32
        for run in runs:
            of_run, counts = counts[: run.num_frames], counts[run.num_frames :]
            chosen.check_counts(of_run, run.tokens_per_frame)
            parts.append(chosen.compress(run, of_run))
    return ZippedFrames.cat(parts)


def _merge_equal_grids(features: VisionFeatures | Sequence[VisionFeatures]) -> list[VisionFeatures]:
    """Join consecutive features of the same grid.

    Raises:
        BadArgument: there are no features, or those of different towers.
    """
    if isinstance(features, VisionFeatures):
        return [features]
    runs = [VisionFeatures.cat(list(group)) for _, group in groupby(features, key=lambda one: one.grid)]
    kinds = {(run.has_cls, run.patches.shape[-1]) for run in runs}
    if len(kinds) != 1:
        raise BadArgument(
            f"features of {len(runs)} runs of frames, whose (has_cls, dim) are {sorted(kinds)}",
            hint="give features of one tower, one run at least",
        )
    return runs


def make_method(method: str | Method, options: Mapping[str, Any] | None = None) -> Method:
    """Make a method from its name and options; a method is returned as it is.

    Args:
        method: a name in :data:`METHODS`, or a method.
        options: values by option name, with a name only; other options keep their defaults.

    Raises:
        BadArgument: an unknown method or option, a value that an option does not take, or options beside a method.
    """
    if isinstance(method, Method):
        if options:
            raise BadArgument(
                f"{describe(method)} was given together with {', '.join(map(repr, options))}",
                hint="set options when making the method, or give its name",
            )
        return method
    return _find(method).from_options(method, options or {})


def parse_method(name: str, options: Mapping[str, str]) -> Method:
    """Make a method from its name and options as text, such as ``{"merge": "mean"}``, from the command line.

    Raises:
        BadArgument: an unknown method or option, or a value that an option does not take.
    """
    return _find(name).from_options(name, options, is_text=True)


def describe(method: Method) -> str:
    """Return a method's name and the options that differ from their defaults: ``visionzip(merge=mean)``."""
    kind = type(method)
    name = next((name for name, known in METHODS.items() if known is kind), kind.__name__)
    changed = ", ".join(f"{key}={value}" for key, value in method.changed_options().items())
    return f"{name}({changed})" if changed else name


def _find(name: str) -> type[Method]:
    if name not in METHODS:
        raise BadArgument(f"unknown method {name!r}", hint=f"use one of {', '.join(METHODS)}")
    return METHODS[name]
