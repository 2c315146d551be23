"""Predict the seconds per stage and the peak memory of a plan. Standard library only.

A stage's seconds are a sum of amounts of work, each multiplied by its rate on one machine with one model. Decoding, for
example, opens a file, seeks to groups of frames and decodes pixels. ``vidzip calibrate`` measures the rates;
:func:`vidzip.planner.default_costs` assumes them from the model's shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vidzip.errors import BadArgument
from vidzip.video.info import VideoInfo
from vidzip.video.sampling import find_segment

STAGES = ("decode", "preprocess", "encode", "compress", "project", "prefill")
"""The stages from a file to the first token of an answer."""

GENERATE = "generate"
"""The stage of each token after the first one."""

_HEADER_BYTES, _HEADER_FRAME_BYTES = 1000, 20
"""Approximate size of a pack's JSON header, and of each frame in it."""

_LARGEST_INT16 = 2**15 - 1
_NO_RATES: Mapping[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class VideoStats:
    """The properties of a video, or of a time range of it, that its decoding costs depend on.

    Attributes:
        num_frames: frames in the time range, N.
        num_keyframes: keyframes in the time range, K.
        pixels: pixels per frame, times the factor by which 4:2:2 and 4:4:4 chroma store more values than 4:2:0.
        frame_bytes: average stored bytes of a frame.
        codec: the codec's short name.
    """

    num_frames: int
    num_keyframes: int
    pixels: int
    frame_bytes: float
    codec: str


def video_stats(info: VideoInfo, start: float | None = None, end: float | None = None) -> VideoStats:
    """Derive decoding statistics from a probe. Keyframes are assumed to be evenly spaced.

    Args:
        info: what :func:`vidzip.probe` returned.
        start: seconds; the video's start if None.
        end: seconds; the video's end if None.

    Raises:
        BadArgument: the time range is empty or outside of the video, or too little is known of the video.
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
            f"too little is known of {info.path!r} to predict its decoding costs", hint="probe it with vidzip.probe"
        )
    count = find_segment(info, start, end).count
    return VideoStats(
        num_frames=count,
        num_keyframes=max(1, round(info.num_keyframes * count / info.num_frames)),
        pixels=round(info.width * info.height * _chroma_factor(info.pixel_format)),
        frame_bytes=info.num_bytes / info.num_frames,
        codec=info.codec,
    )


def _chroma_factor(pixel_format: str | None) -> float:
    """Stored values per pixel, relative to the 1.5 of 4:2:0."""
    name = pixel_format or ""
    return 2.0 if "444" in name else 4 / 3 if "422" in name else 1.0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The work for one question about one video.

    Attributes:
        num_frames: F.
        num_encoded_frames: frames that the vision tower encodes: F, rounded up to whole clips.
        total_tokens: visual tokens, T.
        prompt_tokens: tokens of the prompt without the visual ones.
        video: the video's statistics; None if its frames are decoded already.
    """

    num_frames: int
    num_encoded_frames: int
    total_tokens: int
    prompt_tokens: int
    video: VideoStats | None = None

    def amounts(self) -> dict[str, dict[str, float]]:
        """Amounts of work per stage, in the units of :attr:`CostModel.rates`."""
        tokens = self.total_tokens
        context = tokens + self.prompt_tokens
        megapixels = {} if self.video is None else {"megapixels": self.num_frames * self.video.pixels / 1e6}
        return {
            "decode": self._decoding(),
            # Devices that resize (GPUs) have a rate per megapixel.
            "preprocess": {"frames": self.num_frames, **megapixels},
            "encode": {"runs": 1, "frames": self.num_encoded_frames},
            "compress": {"runs": 1, "frames": self.num_frames, "tokens": tokens},
            "project": {"runs": 1, "tokens": tokens},
            "prefill": {"runs": 1, "tokens": context, "pairs": context**2 / 2},
            "generate": {"runs": 1, "tokens": context},
        }

    def _decoding(self) -> dict[str, float]:
        """Count seeks to keyframes, frames decoded on the way, and frames taken.

        Decoding costs rates per megapixel and per megabyte, by codec. A taken frame costs extra, by itself and by its
        pixels: it is color-converted, and no part of its decoding can be skipped.

        With n >= 1 evenly spaced timestamps per group of pictures, decoding stops half a step before the next keyframe.
        With fewer than one, half of a group is decoded on average for each timestamp.
        """
        video = self.video
        if video is None:
            return {}
        interval = video.num_frames / video.num_keyframes
        groups = min(video.num_keyframes, self.num_frames)
        per_group = max(1.0, interval * (1 - groups / (2 * self.num_frames)))
        decoded = min(float(video.num_frames), max(float(self.num_frames), groups * per_group))
        megapixels = video.pixels / 1e6
        return {
            "files": 1,
            "groups": groups,
            f"{video.codec} megapixels": decoded * megapixels,
            f"{video.codec} megabytes": decoded * video.frame_bytes / 1e6,
            "taken frames": self.num_frames,
            "taken megapixels": self.num_frames * megapixels,
        }


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The sizes of a model that its costs depend on.

    Attributes:
        name: the model's name.
        tokens_per_frame: S, tokens of one uncompressed frame.
        frames_per_clip: frames that the vision tower encodes together.
        frames_at_once: batch size of the vision tower, in frames.
        prompt_tokens: tokens of a usual prompt without the visual ones.
        frame_flop: FLOP of one frame in the layers of the vision tower that run.
        visual_token_flop: FLOP of one visual token in the projector.
        token_flop: FLOP of one token in the language model, without attention to other tokens.
        pair_flop: FLOP of one token's attention to one other token, over all layers.
        weight_bytes: bytes of all weights.
        language_bytes: bytes of the weights that each new token reads.
        frame_bytes: activation bytes of one frame in the vision tower.
        feature_bytes: bytes that are kept of one encoded frame until it is compressed.
        token_bytes: bytes of one token in the KV cache.
        prefill_token_bytes: activation bytes of one token in the language model.
        packed_width: D, values of a packed token; None if unknown.
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
        """Predict the device's peak memory: the weights, plus the larger of vision tower and language model."""
        features = work.num_encoded_frames * self.feature_bytes
        tower = min(self.frames_at_once, work.num_encoded_frames) * self.frame_bytes + features
        context = work.total_tokens + work.prompt_tokens
        return self.weight_bytes + max(tower, context * (self.token_bytes + self.prefill_token_bytes))

    def pack_bytes(self, num_frames: int, total_tokens: int) -> int | None:
        """Predict the size of a pack in half precision; None if D is unknown.

        A token takes its D values, its frame and its anchor; a frame takes the destination of each source token, its
        timestamp and its share of the header.
        """
        if self.packed_width is None:
            return None
        index = 2 if total_tokens <= _LARGEST_INT16 + 1 else 4
        frame = self.tokens_per_frame * index + 8 + _HEADER_FRAME_BYTES
        return _HEADER_BYTES + total_tokens * (2 * self.packed_width + 2 * 4) + num_frames * frame


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Predicted seconds of one stage.

    Attributes:
        seconds: the prediction.
        error: relative error that nine of ten measurements lie within.
    """

    seconds: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Predicted costs of a workload.

    Attributes:
        stages: by the names in :data:`STAGES`; without decoding if the frames are decoded already.
        seconds: from the file, with the model loaded, to the answer's first token. Less than the sum of the stages if
            decoding and encoding overlap.
        error: relative error of ``seconds``.
        seconds_per_new_token: cost of each token after the first one.
        peak_bytes: the device's peak memory, weights included.
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
        shape: the model's sizes.
        device: a description of the device.
        dtype: the model's precision.
        rates: seconds per unit of work, by stage and by kind of work, as :meth:`Workload.amounts` names them. A codec
            without rates of its own takes those of ``other megapixels`` and ``other megabytes``.
        errors: relative error of each stage's seconds; nine of ten measurements lie within.
        total_error: relative error of the total without the differences between videos; decoding adds its own share.
        overlap: share of the shorter of decoding, and of preprocessing plus encoding, that runs at the same time as the
            other: 0 for none, 1 for all of it.
        is_calibrated: whether the rates were measured on the machine that ``device`` describes.
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
        """Predict the costs of a workload.

        Raises:
            BadArgument: a kind of work has no rate.
        """
        spent = self._stage_seconds(work)
        stages = {
            stage: StageCost(seconds=spent[stage], error=self.errors[stage]) for stage in STAGES if stage in spent
        }
        total = self._total_seconds(spent)
        decoding = self.errors["decode"] * spent.get("decode", 0.0) / total if total else 0.0
        return Costs(
            stages=stages,
            seconds=total,
            error=math.hypot(self.total_error, decoding),
            seconds_per_new_token=StageCost(seconds=spent[GENERATE], error=self.errors[GENERATE]),
            peak_bytes=self.shape.peak_bytes(work),
            is_calibrated=self.is_calibrated,
        )

    def seconds(self, work: Workload) -> float:
        """Predict the seconds to the first token only, which is faster than :meth:`predict`.

        Raises:
            BadArgument: a kind of work has no rate.
        """
        return self._total_seconds(self._stage_seconds(work))

    def _stage_seconds(self, work: Workload) -> dict[str, float]:
        """Seconds of every stage with work to do."""
        spent = {}
        for stage, amounts in work.amounts().items():
            if amounts:
                known, seconds = self.rates.get(stage, _NO_RATES), 0.0
                for kind, amount in amounts.items():
                    rate = known.get(kind)
                    seconds += amount * (self._other_rate(stage, kind) if rate is None else rate)
                spent[stage] = seconds
        return spent

    def _total_seconds(self, spent: Mapping[str, float]) -> float:
        """Seconds to the first token: the sum of the stages, minus the overlap."""
        total = sum([spent[stage] for stage in STAGES if stage in spent])
        if "decode" in spent:
            total -= self.overlap * min(spent["decode"], spent["preprocess"] + spent["encode"])
        return total

    def _other_rate(self, stage: str, kind: str) -> float:
        """The rate of a codec that was not measured."""
        other = self.rates.get(stage, {}).get(f"other {kind.rpartition(' ')[2]}")
        if other is None:
            raise BadArgument(f"{self.device} has no rate for {stage!r}, {kind!r}", hint="run vidzip calibrate again")
        return other
