"""What a benchmark run measures: a model, variants, frame counts, budgets and videos; a case is one of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from pipelines.settings import BASELINE_FRAMES
from vidzip.errors import BadArgument
from vidzip.planner.budget import check_fits

TOWER_ONLY = "l14"
SIZES = {
    "tiny": "the built-in model",
    "mini": "a small model with 7B's ratio of tower work to language model work",
    TOWER_ONLY: "7B's tower, ViT-L/14 at 224 pixels, without a language model",
    "7b": "a model with the shape of Video-LLaVA-7B",
}
"""Models that can be measured; all except the first have random weights."""

UNCOMPRESSED, PUBLISHED, PUBLISHED_ONE_BATCH, TOWER, ENCODE, VIDZIP, FILE = (
    "uncompressed",
    "published",
    "published-one-batch",
    "tower",
    "encode",
    "vidzip",
    "file",
)
VARIANTS = {
    UNCOMPRESSED: f"the model's own {BASELINE_FRAMES} frames, uncompressed",
    PUBLISHED: "VisionZip as published: eager attention, all layers, all maps kept; in the same batches as vidzip",
    PUBLISHED_ONE_BATCH: "VisionZip as published, all frames of a video in one batch, as in the published code",
    TOWER: "the vision tower alone",
    ENCODE: "vidzip's encoding, without compression",
    VIDZIP: "vidzip, from decoded frames",
    FILE: "vidzip, from the file: decoding and encoding overlap",
}
_COMPRESSING = (PUBLISHED, PUBLISHED_ONE_BATCH, VIDZIP, FILE)

STAGES = ("decode", "preprocess", "encode", "compress", "project", "prefill", "generate")
TITLES = {stage: stage for stage in STAGES} | {"generate": "one token"}
"""Titles of the stages in tables."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One measurement, repeated in every round.

    Attributes:
        variant: one of :data:`VARIANTS`.
        dtype: name of the model's precision.
        frames: number of frames.
        tokens: total visual tokens; None if frames are not compressed.
        video: a video file; None for random frames.
    """

    variant: str
    dtype: str
    frames: int
    tokens: int | None = None
    video: str | None = None


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Settings of a benchmark run.

    Attributes:
        size: one of :data:`SIZES`.
        variants: some of :data:`VARIANTS`.
        dtypes: names of precisions.
        frames: frame counts.
        budgets: total visual tokens of compressed frames.
        videos: video files; none for random frames.
        rounds: number of measured rounds, after one to warm up.
        batch: maximum frames per tower batch; None for the device's default.
        compile_tower: whether vidzip's variants compile the tower.

    Raises:
        BadArgument: a number is below 1, a variant is unknown, or a variant needs a file and there is none.
        BudgetTooSmall: there are more frames than tokens.
    """

    size: str
    variants: tuple[str, ...]
    dtypes: tuple[str, ...]
    frames: tuple[int, ...]
    budgets: tuple[int, ...]
    videos: tuple[str, ...] = ()
    rounds: int = 7
    batch: int | None = None
    compile_tower: bool = False

    def __post_init__(self) -> None:
        for name, value in (("--rounds", self.rounds), ("--batch", self.batch)):
            if value is not None and value < 1:
                raise BadArgument(f"{name} is {value}", hint="give 1 or more")
        check_names(self.variants, VARIANTS, "--variants")
        if FILE in self.variants and not (self.videos and self.has_language_model):
            raise BadArgument(
                f"the variant {FILE!r} needs a video and a language model", hint="give a video, or leave it out"
            )
        if any(variant in self.variants for variant in _COMPRESSING):
            check_fits(min(self.budgets), max(self.frames))

    @property
    def has_language_model(self) -> bool:
        """Whether the model has a language model."""
        return self.size != TOWER_ONLY

    def cases(self, batch_frames: Mapping[str, int]) -> Iterator[Case]:
        """Yield the cases of a round; uncompressed frames are measured once per precision and video.

        Args:
            batch_frames: frames per tower batch, by precision. If all frames fit one batch, the two published variants
                are the same, and only one is measured.
        """
        for video, dtype in product(self.videos or (None,), self.dtypes):
            for variant in self.variants:
                counts = (BASELINE_FRAMES,) if variant == UNCOMPRESSED else self.frames
                budgets = self.budgets if variant in _COMPRESSING else (None,)
                for frames, tokens in product(counts, budgets):
                    is_one_batch = frames <= batch_frames[dtype]
                    if variant == PUBLISHED_ONE_BATCH and PUBLISHED in self.variants and is_one_batch:
                        continue
                    yield Case(variant=variant, dtype=dtype, frames=frames, tokens=tokens, video=video)


def read_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Split ``("float32,bfloat16", "float16")`` into distinct names."""
    names = (name.strip() for text in texts for name in text.split(","))
    return tuple(dict.fromkeys(filter(None, names)))


def check_names(names: Sequence[str], known: Collection[str], flag: str) -> None:
    """Check the names given for a flag.

    Raises:
        BadArgument: a name is unknown, or there is none.
    """
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        problem = f"unknown {unknown[0]!r} in {flag}" if unknown else f"{flag} names nothing"
        raise BadArgument(problem, hint=f"give some of {', '.join(known)}")
