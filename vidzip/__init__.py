"""vidzip lets a video LLM see many more frames for the price of few.

It decodes a video, keeps each frame's most informative tokens, and packs them in order into a fixed budget. The names
below are imported on first use, so that importing vidzip, or planning, loads neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidzip import compress, errors
    from vidzip.compress import ZippedFrames, zip_frames
    from vidzip.encoders import observe
    from vidzip.errors import BudgetTooSmall, VidzipError
    from vidzip.features import VisionFeatures
    from vidzip.models import Answer, Chat, Session, VideoModel, load
    from vidzip.packing import PackedVideo
    from vidzip.planner import Budget, Plan, plan, split_budget, token_split
    from vidzip.video.decoding import Frames, decode, decode_chunks
    from vidzip.video.info import VideoInfo
    from vidzip.video.options import DecodeOptions
    from vidzip.video.probing import probe
    from vidzip.video.sampling import sample

from vidzip.version import __version__ as __version__

_HOMES = {
    "Answer": "vidzip.models",
    "Budget": "vidzip.planner",
    "BudgetTooSmall": "vidzip.errors",
    "Chat": "vidzip.models",
    "DecodeOptions": "vidzip.video.options",
    "Frames": "vidzip.video.decoding",
    "PackedVideo": "vidzip.packing",
    "Plan": "vidzip.planner",
    "Session": "vidzip.models",
    "VideoInfo": "vidzip.video.info",
    "VideoModel": "vidzip.models",
    "VidzipError": "vidzip.errors",
    "VisionFeatures": "vidzip.features",
    "ZippedFrames": "vidzip.compress",
    "decode": "vidzip.video.decoding",
    "decode_chunks": "vidzip.video.decoding",
    "load": "vidzip.models",
    "observe": "vidzip.encoders",
    "plan": "vidzip.planner",
    "probe": "vidzip.video.probing",
    "sample": "vidzip.video.sampling",
    "split_budget": "vidzip.planner",
    "token_split": "vidzip.planner",
    "zip_frames": "vidzip.compress",
}

_ROOMS = ("compress", "errors")

__all__ = [
    "Answer",
    "Budget",
    "BudgetTooSmall",
    "Chat",
    "DecodeOptions",
    "Frames",
    "PackedVideo",
    "Plan",
    "Session",
    "VideoInfo",
    "VideoModel",
    "VidzipError",
    "VisionFeatures",
    "ZippedFrames",
    "compress",
    "decode",
    "decode_chunks",
    "errors",
    "load",
    "observe",
    "plan",
    "probe",
    "sample",
    "split_budget",
    "token_split",
    "zip_frames",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"vidzip.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'vidzip' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
