"""What is measured: which model, which ways, how many frames, tokens and videos; a case is one of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from pipelines.settings import BASELINE_FRAMES
from vidzip.errors import BadArgument
from vidzip.planner.budget import check_fits

TOWER_ALONE = "l14"
SIZES = {
    "tiny": "the built-in model",
    "mini": "a small model whose work is shared between tower and language model as that of 7b is",
    TOWER_ALONE: "the tower of 7b, ViT-L/14 at 224 pixels, without a language model",
    "7b": "a model of Video-LLaVA-7B's shape",
}
"""Models that can be measured; all but the first have random weights."""

FULL, PUBLISHED, WHOLE, TOWER, ENCODE, OURS, FILE = (
    "full",
    "published",
    "published-whole",
    "tower",
    "encode",
    "ours",
    "file",
)
WAYS = {
    FULL: f"the model's own {BASELINE_FRAMES} frames, uncompressed",
    PUBLISHED: "VisionZip as published: eager attention, all layers, all maps kept; as many frames at once as ours",
    WHOLE: "the same, all frames of a video at once, as the published code takes them",
    TOWER: "the tower alone, as it is",
    ENCODE: "vidzip's encoding, without compressing",
    OURS: "vidzip, from decoded frames",
    FILE: "vidzip, from the file: decoding and encoding overlap",
}
"""Ways of looking at frames, and what they are."""

STAGES = ("decode", "preprocess", "encode", "compress", "project", "prefill", "generate")
TITLES = {stage: stage for stage in STAGES} | {"generate": "one token"}
"""What stages are called in tables."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that is run in every round.

    Attributes:
        way: one of :data:`WAYS`.
        dtype: the model's precision, by its name.
        frames: F.
        tokens: visual tokens in all; None where frames are not compressed.
        video: the file; None for random frames.
    """

    way: str
    dtype: str
    frames: int
    tokens: int | None = None
    video: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run of the bench measures.

    Attributes:
        size: one of :data:`SIZES`.
        ways: some of :data:`WAYS`.
        dtypes: precisions, by name.
        frames: frame counts.
        budgets: visual tokens in all, of compressed frames.
        videos: files; none for random frames.
        rounds: how often everything is run, the first time not counted.
        batch: frames that run through the tower at once, at most; the device's own number where None.
        compile_tower: whether vidzip's own ways compile the tower.

    Raises:
        BadArgument: a number below 1, an unknown way, or one that needs a file where there is none.
        BudgetTooSmall: there are more frames than tokens.
    """

    size: str
    ways: tuple[str, ...]
    dtypes: tuple[str, ...]
    frames: tuple[int, ...]
    budgets: tuple[int, ...]
    videos: tuple[str, ...] = ()
    rounds: int = 7
    batch: int | None = None
    compile_tower: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 1 or (self.batch is not None and self.batch < 1):
            raise BadArgument(
                f"{self.rounds} rounds, {self.batch} frames at once", hint="give 1 or more of --rounds and --batch"
            )
        check_words(self.ways, WAYS, "--ways")
        if FILE in self.ways and not (self.videos and self.asks):
            raise BadArgument(
                f"the way {FILE!r} needs a video, and a model that is asked", hint="name a video, or leave it out"
            )
        if any(way in self.ways for way in _COMPRESSING):
            check_fits(min(self.budgets), max(self.frames))

    @property
    def asks(self) -> bool:
        """Whether the model has a language model."""
        return self.size != TOWER_ALONE

    def cases(self, frames_at_once: Mapping[str, int]) -> Iterator[Case]:
        """Everything that is run in a round: the model's own path once for each precision and video.

        Args:
            frames_at_once: frames that run through the tower at once, by precision. Where so many are all, the
                published way is the same whether it takes all at once or not, and is run once.
        """
        for video, dtype in product(self.videos or (None,), self.dtypes):
            for way in self.ways:
                counts = (BASELINE_FRAMES,) if way == FULL else self.frames
                budgets = self.budgets if way in _COMPRESSING else (None,)
                for frames, tokens in product(counts, budgets):
                    if way == WHOLE and PUBLISHED in self.ways and frames <= frames_at_once[dtype]:
                        continue
                    yield Case(way=way, dtype=dtype, frames=frames, tokens=tokens, video=video)


_COMPRESSING = (PUBLISHED, WHOLE, OURS, FILE)


def read_words(texts: Sequence[str]) -> tuple[str, ...]:
    """Read ``("float32,bfloat16", "float16")``: words apart or with commas, each once."""
    words = (word.strip() for text in texts for word in text.split(","))
    return tuple(dict.fromkeys(filter(None, words)))


def check_words(words: Sequence[str], known: Collection[str], flag: str) -> None:
    """Refuse words that are not known, or none.

    Raises:
        BadArgument: there is one, or not one word.
    """
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        what = f"unknown {unknown[0]!r}" if unknown else "nothing is named"
        raise BadArgument(f"{what} in {flag}", hint=f"give some of {', '.join(known)}")
