"""What looking at a video costs: seconds a stage and peak memory, from a machine's rates. Standard library only.

A stage's seconds are a sum of amounts of work, each times its rate on one machine, with one model: decoding has files
to open, groups of frames to jump to and pictures to decode, a prefill tokens, and pairs of them. ``vidzip calibrate``
measures the rates; :func:`vidzip.planner.default_costs` assumes them from the model's shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vidzip.errors import BadArgument
from vidzip.video.info import VideoInfo
from vidzip.video.sampling import stretch_of

STAGES = ("decode", "preprocess", "encode", "compress", "project", "prefill")
"""The way from a file to the first token of an answer."""

AFTER = "generate"
"""Each token after the first one."""

_DESCRIBED_BYTES, _DESCRIBED_FRAME_BYTES = 1000, 20
"""What a packed video's file says in words, and of each frame, about."""

_LARGEST_INT16 = 2**15 - 1
_NO_RATES: Mapping[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What a planner knows of a video's pictures.

    Attributes:
        num_frames: frames in the stretch looked at, N.
        num_keyframes: those of them at which decoding can begin, K.
        pixels: of one picture; where colours are stored at a higher resolution than usual, by as much more.
        frame_bytes: stored bytes of one frame, on average.
        codec: the codec's short name.
    """

    num_frames: int
    num_keyframes: int
    pixels: int
    frame_bytes: float
    codec: str


def pictures_of(info: VideoInfo, start: float | None = None, end: float | None = None) -> Pictures:
    """Tell what there is to decode of a video, or of a stretch of it; keyframes are taken to be evenly spread.

    Args:
        info: what :func:`vidzip.probe` said of it.
        start: seconds; the video's start when left out.
        end: seconds; the video's end when left out.

    Raises:
        BadArgument: an empty or impossible stretch, or a video of which too little is known.
    """
    if (
        info.num_frames is None
        or info.num_keyframes is None
        or info.width is None
        or info.height is None
        or info.num_bytes is None
        or info.codec is None
    ):
        raise BadArgument(
            f"too little is known of {info.path!r} to tell what decoding it costs", hint="probe it with vidzip.probe"
        )
    count = stretch_of(info, start, end).count
    return Pictures(
        num_frames=count,
        num_keyframes=max(1, round(info.num_keyframes * count / info.num_frames)),
        pixels=round(info.width * info.height * _samples(info.pixel_format)),
        frame_bytes=info.num_bytes / info.num_frames,
        codec=info.codec,
    )


def _samples(pixel_format: str | None) -> float:
    """Numbers stored a pixel, over the 1.5 of most videos, whose colours have half the width and half the height."""
    stored = pixel_format or ""
    return 2.0 if "444" in stored else 4 / 3 if "422" in stored else 1.0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be done for one question about one video.

    Attributes:
        num_frames: frames looked at, F.
        num_encoded_frames: frames that the tower encodes: F, rounded up to whole clips.
        total_tokens: visual tokens, T.
        prompt_tokens: tokens of the prompt beside them.
        pictures: the video's; None where its frames are decoded already.
    """

    num_frames: int
    num_encoded_frames: int
    total_tokens: int
    prompt_tokens: int
    pictures: Pictures | None = None

    def amounts(self) -> dict[str, dict[str, float]]:
        """What each stage has to do, in the units that rates are given in."""
        frames, tokens = self.num_encoded_frames, self.total_tokens
        context = tokens + self.prompt_tokens
        return {
            "decode": self._decoding(),
            "preprocess": self._preprocessing(),
            "encode": {"runs": 1, "frames": frames},
            "compress": {"runs": 1, "frames": self.num_frames, "tokens": tokens},
            "project": {"runs": 1, "tokens": tokens},
            "prefill": {"runs": 1, "tokens": context, "pairs": context**2 / 2},
            "generate": {"runs": 1, "tokens": context},
        }

    def _preprocessing(self) -> dict[str, float]:
        """Count frames, and what they are resized from where decoding leaves that to this stage, as it does on a GPU."""
        if self.pictures is None:
            return {"frames": self.num_frames}
        return {"frames": self.num_frames, "megapixels": self.num_frames * self.pictures.pixels / 1e6}

    def _decoding(self) -> dict[str, float]:
        """Count what decoding goes through: from a keyframe to the last frame that is wanted after it.

        What is gone through costs by its pixels and by its stored bytes, by each codec at rates of its own; a frame
        that is taken costs more, by itself and by its pixels: it is converted, and nothing of it may be left out.

        Of moments evenly spread, n fall between one keyframe and the next where there are n at least; the last of them
        leaves half a step to the next keyframe. Where there is less than one, half of the frames between two keyframes
        is decoded for each, on average.
        """
        pictures = self.pictures
        if pictures is None:
            return {}
        interval = pictures.num_frames / pictures.num_keyframes
        groups = min(pictures.num_keyframes, self.num_frames)
        each = max(1.0, interval * (1 - groups / (2 * self.num_frames)))
        decoded = min(float(pictures.num_frames), max(float(self.num_frames), groups * each))
        megapixels = pictures.pixels / 1e6
        return {
            "files": 1,
            "groups": groups,
            f"{pictures.codec} megapixels": decoded * megapixels,
            f"{pictures.codec} megabytes": decoded * pictures.frame_bytes / 1e6,
            "taken frames": self.num_frames,
            "taken megapixels": self.num_frames * megapixels,
        }


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The numbers of a Video-LLaVA that its costs follow from.

    Attributes:
        name: the model's.
        tokens_per_frame: S, of one uncompressed frame.
        frames_per_clip: frames that its tower encodes together.
        frames_at_once: frames that run through the tower at once, at most.
        prompt_tokens: tokens of a usual prompt beside the visual ones.
        frame_flop: products and sums of one frame in the tower, as far as it runs.
        visual_token_flop: of one visual token in the projector.
        token_flop: of one token in the language model, what it attends to left out.
        pair_flop: of one token that attends to another, in all layers.
        weight_bytes: of all weights, in the model's precision.
        language_bytes: of those that every new token needs.
        frame_bytes: what one frame takes at once on its way through the tower.
        feature_bytes: what is kept of one encoded frame until it is compressed.
        token_bytes: what the language model keeps of one token in its cache.
        prefill_token_bytes: what one token takes at once on its way through the language model.
        packed_width: D, numbers of a token in a pack; None where that is not known.
    """

    name: str
    tokens_per_frame: int
    frames_per_clip: int
    frames_at_once: int
    prompt_tokens: int
    frame_flop: float
    visual_token_flop: float
    token_flop: float
    pair_flop: float
    weight_bytes: int
    language_bytes: int
    frame_bytes: int
    feature_bytes: int
    token_bytes: int
    prefill_token_bytes: int
    packed_width: int | None = None

    def peak_bytes(self, work: Workload) -> int:
        """What the device holds at most: the weights, and the hungrier of the tower and the language model."""
        features = work.num_encoded_frames * self.feature_bytes
        at_once = min(self.frames_at_once, work.num_encoded_frames)
        context = work.total_tokens + work.prompt_tokens
        tower = at_once * self.frame_bytes + features
        return self.weight_bytes + max(tower, context * (self.token_bytes + self.prefill_token_bytes))

    def pack_bytes(self, num_frames: int, total_tokens: int) -> int | None:
        """Size of a packed video's file, tokens in half precision; None where the tower's width is not known.

        A token is its numbers, its frame and its place there; a frame is where each of its tokens ended, its moment, and
        what the description says of it.
        """
        if self.packed_width is None:
            return None
        index = 2 if total_tokens <= _LARGEST_INT16 + 1 else 4
        frame = self.tokens_per_frame * index + 8 + _DESCRIBED_FRAME_BYTES
        return _DESCRIBED_BYTES + total_tokens * (2 * self.packed_width + 2 * 4) + num_frames * frame


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage's predicted seconds.

    Attributes:
        seconds: what it is predicted to take.
        error: how far off that may be, as a share of it: nine of ten measurements lie within.
    """

    seconds: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a workload is predicted to cost.

    Attributes:
        stages: each stage's, by its name in :data:`STAGES`; decoding is left out where nothing is decoded.
        seconds: from the file, with the model loaded, to the answer's first token: less than the stages' sum where
            decoding and encoding overlap.
        error: how far off that may be, as a share of it.
        seconds_per_new_token: of each token after the first.
        peak_bytes: what the device holds at most, weights included.
        is_calibrated: whether the rates were measured on this machine.
    """

    stages: Mapping[str, StageCost]
    seconds: float
    error: float
    seconds_per_new_token: StageCost
    peak_bytes: int
    is_calibrated: bool


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Rates of one machine with one model.

    Attributes:
        shape: the model's.
        device: what it runs on, in words.
        dtype: its precision.
        rates: seconds for a unit of each kind of work, by stage and kind, as :meth:`Workload.amounts` names them. A
            codec without rates of its own takes those of ``other megapixels`` and ``other megabytes``.
        errors: how far off each stage's seconds may be, as a share of them, by stage; nine of ten measurements lie within.
        total_error: the same of the whole, but for what videos differ in: to it, decoding adds its own share.
        overlap: how much of the shorter one of decoding and of what runs beside it, preprocessing and encoding, is
            hidden behind the other; 0 for nothing, 1 for all of it.
        is_calibrated: whether the rates were measured, on the machine that ``device`` names.
    """

    shape: ModelShape
    device: str
    dtype: str
    rates: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, float]
    total_error: float
    overlap: float
    is_calibrated: bool

    def predict(self, work: Workload) -> Costs:
        """Predict what a workload costs.

        Raises:
            BadArgument: there is no rate for some of its work.
        """
        spent = self._spend(work)
        stages = {
            stage: StageCost(seconds=spent[stage], error=self.errors[stage]) for stage in STAGES if stage in spent
        }
        total = self._join(spent)
        decoding = self.errors["decode"] * spent.get("decode", 0.0) / total if total else 0.0
        return Costs(
            stages=stages,
            seconds=total,
            error=math.hypot(self.total_error, decoding),
            seconds_per_new_token=StageCost(seconds=spent[AFTER], error=self.errors[AFTER]),
            peak_bytes=self.shape.peak_bytes(work),
            is_calibrated=self.is_calibrated,
        )

    def seconds(self, work: Workload) -> float:
        """Predict the seconds to the first token, as :meth:`predict` does, and nothing else.

        Raises:
            BadArgument: there is no rate for some of its work.
        """
        return self._join(self._spend(work))

    def _spend(self, work: Workload) -> dict[str, float]:
        """Seconds of every stage that has something to do."""
        spent = {}
        for stage, amounts in work.amounts().items():
            if amounts:
                known, seconds = self.rates.get(stage, _NO_RATES), 0.0
                for kind, amount in amounts.items():
                    rate = known.get(kind)
                    seconds += amount * (self._other_rate(stage, kind) if rate is None else rate)
                spent[stage] = seconds
        return spent

    def _join(self, spent: Mapping[str, float]) -> float:
        """Seconds to the first token: the stages' sum, less what decoding hides."""
        total = sum([spent[stage] for stage in STAGES if stage in spent])
        if "decode" in spent:
            total -= self.overlap * min(spent["decode"], spent["preprocess"] + spent["encode"])
        return total

    def _other_rate(self, stage: str, kind: str) -> float:
        """The rate of a codec that has none of its own."""
        other = self.rates.get(stage, {}).get(f"other {kind.rpartition(' ')[2]}")
        if other is None:
            raise BadArgument(
                f"the rates of {self.device} say nothing of {stage!r}, {kind!r}", hint="calibrate it anew"
            )
        return other
