"""Settings of a run of a question set. Importing them loads neither torch nor a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pipelines.settings import ModelSettings
from vidzip import Budget, DecodeOptions, split_budget
from vidzip.errors import BadArgument
from vidzip.video.sampling import Policy, check_count


@dataclass(frozen=True, kw_only=True)
class QuestionSettings:
    """Which questions are asked.

    Attributes:
        name: a question set in :data:`eval.datasets.SETS`.
        data: folder, or file, of the questions.
        videos: folder of the videos; by default ``videos`` beside the questions, or the folder of the questions.
        subset: ``"firstN"``, the first N questions in file order; all when None.
        limit: number of videos, the first in file order; all when None.
        shard: ``"I/N"``, one of N parts of the videos; all when None.

    Raises:
        BadArgument: the limit is below 1, or the shard is not of that form.
    """

    name: str
    data: str
    videos: str | None = None
    subset: str | None = None
    limit: int | None = None
    shard: str | None = None

    def __post_init__(self) -> None:
        if self.limit is not None:
            check_count(self.limit, "the number of videos")
        if self.shard is not None:
            parse_shard(self.shard)


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """Which frames of a video are sampled, and how they are compressed.

    Attributes:
        budget: frames and tokens.
        policy: where in the video frames are sampled.
        method: a name in :data:`vidzip.compress.METHODS`.
        options: the method's options that differ from their defaults.

    Raises:
        BudgetTooSmall: the budget has fewer tokens than frames.
    """

    budget: Budget = field(default_factory=Budget)
    policy: Policy = "middle"
    method: str = "visionzip"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.budget.num_frames is not None:
            split_budget(self.budget.total_tokens, self.budget.num_frames)


UNCOMPRESSED: Final = "uncompressed"
NO_VIDEO: Final = "no-video"
FrameSelection = FrameSettings | Literal["uncompressed", "no-video"]
"""Frame settings, the model's own uncompressed frames (the baseline), or no video at all (the lower bound)."""


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How answers are generated.

    Attributes:
        max_new_tokens: limit on the tokens of an answer.
        batch_questions: number of questions about a video that are answered side by side.

    Raises:
        BadArgument: a number is below 1.
    """

    max_new_tokens: int = 64
    batch_questions: int = 16

    def __post_init__(self) -> None:
        check_count(self.max_new_tokens, "the limit on new tokens")
        check_count(self.batch_questions, "the batch of questions")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What runs of a question set have in common, whatever frames they use.

    Attributes:
        decoding: how a process decodes; with two threads if it names no number.
        processes: number of processes that decode; one for two CPUs and at most 8 when None.
        devices: devices that share the videos, one process each; the model's own device when empty.
        pack_cache: folder where packed videos are kept for other runs; none are kept when None.

    Raises:
        BadArgument: the number of processes is below 1.
    """

    questions: QuestionSettings
    model: ModelSettings = field(default_factory=ModelSettings)
    decoding: DecodeOptions = field(default_factory=DecodeOptions)
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    processes: int | None = None
    devices: tuple[str, ...] = ()
    pack_cache: str | None = None

    def __post_init__(self) -> None:
        if self.processes is not None:
            check_count(self.processes, "the number of processes")


def parse_shard(shard: str) -> tuple[int, int]:
    """Parse ``"I/N"`` into the part and the number of parts.

    Raises:
        BadArgument: it is not of that form, or I is not in 1 to N.
    """
    part, slash, count = shard.partition("/")
    if not (slash and part.isdecimal() and count.isdecimal() and 1 <= int(part) <= int(count)):
        raise BadArgument(f"unknown shard {shard!r}", hint="give I/N: 1/4, 2/4, 3/4 and 4/4 for four machines")
    return int(part), int(count)
