"""The model families that vidzip knows. A checkpoint belongs to the first that matches."""

from __future__ import annotations

from vidzip.errors import BadModelFolder
from vidzip.models.checkpoint import Checkpoint
from vidzip.models.family import ModelFamily
from vidzip.models.video_llava import VideoLlava
from vidzip.models.video_llava_original import OriginalVideoLlava

FAMILIES: tuple[type[ModelFamily], ...] = (OriginalVideoLlava, VideoLlava)


def find_family(checkpoint: Checkpoint) -> type[ModelFamily]:
    """Find the family that a checkpoint belongs to.

    Raises:
        BadModelFolder: it belongs to none.
    """
    for family in FAMILIES:
        if family.matches(checkpoint):
            return family
    raise BadModelFolder(
        f"{checkpoint.folder} holds a model of type {checkpoint.config.get('model_type')!r}, which is not supported",
        hint=f"supported are {'; '.join(family.title for family in FAMILIES)}",
    )
