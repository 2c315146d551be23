"""Vision towers: preprocessing of frames, and features observed through hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vidzip.encoders.compiling import CompiledTower
from vidzip.encoders.observing import Observation, ObservedTower, observe, tap
from vidzip.encoders.preprocessing import (
    FramePreprocessor,
    LanguageBindPreprocessor,
    Preprocessor,
    read_preprocessor,
)

if TYPE_CHECKING:
    from vidzip.encoders.languagebind import LanguageBindTower, languagebind_tower

__all__ = [
    "CompiledTower",
    "FramePreprocessor",
    "LanguageBindPreprocessor",
    "LanguageBindTower",
    "Observation",
    "ObservedTower",
    "Preprocessor",
    "languagebind_tower",
    "observe",
    "read_preprocessor",
    "tap",
]


def __getattr__(name: str) -> Any:
    # The LanguageBind tower needs transformers, whose import takes seconds; nothing else here does.
    if name not in __all__:
        raise AttributeError(f"module 'vidzip.encoders' has no attribute {name!r}")
    from vidzip.encoders import languagebind

    return getattr(languagebind, name)
