"""Vision towers: pictures prepared for them, and what they say, observed through hooks."""

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
    # A tower is built of transformers' modules, whose import takes seconds; watching one, or resizing, needs none.
    if name not in __all__:
        raise AttributeError(f"module 'vidzip.encoders' has no attribute {name!r}")
    from vidzip.encoders import languagebind

    return getattr(languagebind, name)
