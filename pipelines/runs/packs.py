"""A cache of packed videos on the disk: a run with other questions or another prompt decodes nothing again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidzip import PackedVideo
from vidzip.errors import BadPack
from vidzip.packing import SUFFIX


@dataclass(frozen=True, kw_only=True)
class PackCache:
    """A folder of packed videos.

    Attributes:
        folder: created with the first pack.
        settings: everything that packs depend on beside the video: tower, method, budget, policy and decoding.
    """

    folder: str
    settings: Mapping[str, Any]

    def path(self, video_identity: str) -> str:
        """Return the path of a video's pack: a hash of the video's content and the settings."""
        described = json.dumps([video_identity, self.settings], sort_keys=True)
        key = hashlib.blake2b(described.encode(), digest_size=20).hexdigest()
        return os.path.join(self.folder, key[:2], key + SUFFIX)

    def get(self, video_identity: str) -> PackedVideo | None:
        """Load a video's pack; None if there is none, or it is damaged."""
        path = self.path(video_identity)
        if not os.path.exists(path):
            return None
        try:
            return PackedVideo.load(path)
        except BadPack:
            return None

    def put(self, packed: PackedVideo) -> None:
        """Save a pack with its tokens unrounded, so that answers over it are the same to the last bit.

        Raises:
            ValueError: the plan has no video identity.
            WriteError: the pack cannot be written; ``DiskFull`` if there is no room.
        """
        identity = packed.plan.video_identity
        if identity is None:
            raise ValueError("the plan does not say which video it was made for")
        path = self.path(identity)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        packed.save(path, dtype=packed.tokens.dtype)
