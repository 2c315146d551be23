"""From decoded frames to what the tower says of them: prepared, put into clips, encoded a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vidzip.encoders import CompiledTower, FramePreprocessor, observe
from vidzip.features import FrameFeatures
from vidzip.models.timing import Stopwatch
from vidzip.planner import Plan
from vidzip.video.decoding import Frames, decode_chunks
from vidzip.video.options import DecodeOptions
from vidzip.video.resizing import Shape

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The frames of a plan, encoded, each once.

    Attributes:
        features: of the distinct frames.
        appears_seconds: when the frame shown at each moment of the plan appears, ascending.
        warnings: what is wrong with the file, in words.
    """

    features: FrameFeatures
    appears_seconds: list[float]
    warnings: list[str]


@dataclass(frozen=True, kw_only=True)
class FrameEncoder:
    """A tower and what it takes.

    Attributes:
        tower: the vision tower.
        preprocessor: its pictures' preparation.
        layer: the encoder layer that is observed, negative from the end.
        frames_per_clip: frames that the tower encodes together.
        frames_at_once: frames that run through it at once, whole clips.
        device: where it runs.
        dtype: its precision.
        compiled: the tower, compiled; None where it runs as it is. Every run is then of ``frames_at_once`` frames.
    """

    tower: nn.Module
    preprocessor: FramePreprocessor
    layer: int
    frames_per_clip: int
    frames_at_once: int
    device: torch.device
    dtype: torch.dtype
    compiled: CompiledTower | None = None

    def encode(self, frames: Frames) -> FrameFeatures:
        """Encode decoded frames at full size; where they fill no whole run, the last one is repeated unseen."""
        batches = torch.split(frames.pixels, self.frames_at_once)
        return FrameFeatures.cat(list(self._encode_clips(map(self._prepare_whole, batches), Stopwatch(self.device))))

    def encode_shaped(self, pixels: UInt8[Tensor, "frames 3 height width"], stopwatch: Stopwatch) -> FrameFeatures:
        """Encode frames that were decoded to the preprocessor's ``shape``."""

        def prepared() -> Iterator[Tensor]:
            for batch in torch.split(pixels, self.frames_at_once):
                with stopwatch.stage("preprocess"):
                    ready = self.preprocessor.finish(self._sent(batch), self.device, self.dtype)
                yield ready

        return FrameFeatures.cat(list(self._encode_clips(prepared(), stopwatch)))

    def encode_at(
        self, path: str, plan: Plan, decoding: DecodeOptions, stopwatch: Stopwatch, on_progress: Progress | None
    ) -> Encoded:
        """Encode the frames of a plan while later ones are decoded.

        Raises:
            VideoError: the file cannot be decoded at a moment of the plan.
        """
        appears: list[float] = []
        warnings: dict[str, None] = {}
        shape = self.decoded_shape
        chunks = decode_chunks(
            path,
            plan.timestamps_seconds,
            self.frames_at_once,
            size=shape.size,
            crop=shape.crop,
            resize=shape.resize,
            backend=decoding.backend,
            workers=decoding.workers,
            strict=decoding.strict,
            time_limit_seconds=decoding.time_limit_seconds,
        )

        def distinct() -> Iterator[Tensor]:
            for chunk in _timed(chunks, stopwatch):
                shown = chunk.timestamps_seconds
                before = (appears[-1] if appears else None, *shown)
                new = [i for i, seconds in enumerate(shown) if seconds != before[i]]
                appears.extend(shown)
                warnings.update(dict.fromkeys(chunk.warnings))
                if new:
                    with stopwatch.stage("preprocess"):
                        prepared = self._prepare(chunk.pixels[new])
                    yield prepared

        parts: list[FrameFeatures] = []
        with closing(chunks):
            for features in self._encode_clips(distinct(), stopwatch):
                parts.append(features)
                if on_progress:
                    on_progress("encode", len(appears), plan.num_frames)
        return Encoded(features=FrameFeatures.cat(parts), appears_seconds=appears, warnings=list(warnings))

    def _encode_clips(
        self, prepared: Iterable[Float[Tensor, "frames 3 side side"]], stopwatch: Stopwatch
    ) -> Iterator[FrameFeatures]:
        """Encode frames as they come, in runs of whole clips; the last frame fills the last run."""
        unit = self.frames_per_clip if self.compiled is None else self.frames_at_once
        waiting: Tensor | None = None
        for frames in prepared:
            waiting = frames if waiting is None else torch.cat([waiting, frames])
            whole = len(waiting) - len(waiting) % unit
            if whole:
                yield self._observe(waiting[:whole], stopwatch)
                waiting = waiting[whole:]
        if waiting is not None and len(waiting):
            repeats = waiting[-1:].expand(-len(waiting) % unit, -1, -1, -1)
            yield self._observe(torch.cat([waiting, repeats]), stopwatch)[: len(waiting)]

    def _observe(self, pixel_values: Float[Tensor, "frames 3 side side"], stopwatch: Stopwatch) -> FrameFeatures:
        with stopwatch.stage("encode"):
            if self.compiled is not None:
                return self.compiled.observe(pixel_values, self.layer)
            return observe(self.tower, pixel_values, self.layer)

    @property
    def decoded_shape(self) -> Shape:
        """What decoding brings pictures to: nothing where the device resizes them."""
        return Shape() if self._resizes_on_device else self.preprocessor.shape

    @property
    def _resizes_on_device(self) -> bool:
        # CUDA resizes where it encodes; elsewhere the CPU does, since Apple's GPUs may lack antialiased bicubic.
        return self.device.type == "cuda"

    def _prepare(self, pixels: UInt8[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames 3 side side"]:
        """Bring frames, which decoding has shaped unless the device does all of it, to what the tower takes."""
        if self._resizes_on_device:
            return self._prepare_whole(pixels)
        return self.preprocessor.finish(pixels, self.device, self.dtype)

    def _prepare_whole(self, pixels: UInt8[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames 3 side side"]:
        """Bring frames at full size to what the tower takes."""
        whole = self._sent(pixels) if self._resizes_on_device else pixels
        return self.preprocessor(whole, device=self.device, dtype=self.dtype)

    def _sent(self, pixels: UInt8[Tensor, "frames 3 height width"]) -> UInt8[Tensor, "frames 3 height width"]:
        """Send frames to the device; to CUDA through pinned memory, without waiting for them to arrive."""
        if self.device.type == "cuda" and pixels.device.type == "cpu":
            return pixels.pin_memory().to(self.device, non_blocking=True)
        return pixels.to(self.device)


def _timed(chunks: Iterator[Frames], stopwatch: Stopwatch) -> Iterator[Frames]:
    """Count the time that each next chunk is waited for towards decoding."""
    while True:
        with stopwatch.stage("decode"):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk
