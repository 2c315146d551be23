"""Packed videos kept on the disk, by what they hold: another prompt, or another judge, decodes nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from vidzip import PackedVideo
from vidzip.errors import BadPack
from vidzip.packing import SUFFIX


@dataclass(frozen=True, kw_only=True)
class PackCache:
    """A folder of packed videos.

    Attributes:
        folder: where they lie; made when the first one is kept.
        made_by: all that packs depend on beside the video: tower, method, budget, policy and decoding.
    """

    folder: str
    made_by: Mapping[str, Any]

    def path(self, video_identity: str) -> str:
        """Where the pack of a video lies, by a hash of its content and of what the pack is made by."""
        described = json.dumps([video_identity, self.made_by], sort_keys=True)
        key = hashlib.blake2b(described.encode(), digest_size=20).hexdigest()
        return os.path.join(self.folder, key[:2], key + SUFFIX)

    def get(self, video_identity: str) -> PackedVideo | None:
        """Find a video's pack; None where there is none, or a damaged one, which is then made anew."""
        path = self.path(video_identity)
        if not os.path.exists(path):
            return None
        try:
            return PackedVideo.load(path)
        except BadPack:
            return None

    def keep(self, packed: PackedVideo) -> None:
        """Keep a pack, its tokens as they are, so that answers over it are the same to the last bit.

        Raises:
            WriteError: it cannot be written; ``DiskFull`` where there is no room.
        """
        identity = packed.plan.video_identity
        if identity is None:
            raise ValueError("the plan does not say which video it was made for")
        path = self.path(identity)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        dtype: torch.dtype = packed.tokens.dtype
        packed.save(path, dtype=dtype)
