"""Frozen splits: their seeds, and hashes of their questions and frames, which change only with a new version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from eval.shapes.clips import Clip
from eval.shapes.questions import KINDS
from eval.shapes.scene import VERSION


@dataclass(frozen=True, kw_only=True)
class FrozenSplit:
    """A frozen split: its seed, and the hashes of its questions, answers and times, and of each video's raw frames."""

    seed: int
    questions_sha256: str
    frames_sha256: tuple[str, ...]

    @property
    def num_videos(self) -> int:
        """Number of videos."""
        return len(self.frames_sha256)


@cache
def frozen_splits() -> dict[str, FrozenSplit]:
    """Read the frozen splits by name; raises ValueError if the file is of another version of the generator."""
    data = json.loads(resources.files("eval.shapes").joinpath("frozen_splits.json").read_text(encoding="utf-8"))
    if data["version"] != VERSION or data["kinds"] != list(KINDS):
        raise ValueError(
            f"frozen_splits.json is of version {data['version']}, the generator of {VERSION}: freeze it again"
        )
    return {
        name: FrozenSplit(
            seed=split["seed"],
            questions_sha256=split["questions_sha256"],
            frames_sha256=tuple(split["frames_sha256"]),
        )
        for name, split in data["splits"].items()
    }


def frames_digest(clip: Clip) -> str:
    """Compute the SHA-256 of a video's raw frames."""
    digest = hashlib.sha256()
    for frame in clip.renderer.render_all():
        digest.update(frame.tobytes())
    return digest.hexdigest()


def questions_digest(clips: Iterable[Clip]) -> str:
    """Compute the SHA-256 of videos' questions, answers and times."""
    rows = [
        [clip.name, clip.scene.duration_seconds, q.kind, q.form, q.text, q.answer, q.seconds(clip.scene)]
        for clip in clips
        for q in clip.questions
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
