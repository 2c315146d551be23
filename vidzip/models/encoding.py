"""From decoded frames to features: prepared, grouped into whole clips, and run through the tower in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidzip.encoders import CompiledTower, FramePreprocessor, observe
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures
from vidzip.models.timing import Stopwatch
from vidzip.video.decoding import Frames
from vidzip.video.resizing import Shape

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, the work done, and the total."""


@dataclass(frozen=True, kw_only=True)
class VisionEncoder:
    """A vision tower with its preprocessing. The only way from frames to features.

    Attributes:
        tower: the vision tower.
        preprocessor: prepares frames for the tower.
        layer: the encoder layer whose output is used, negative from the end.
        frames_per_clip: frames that the tower encodes together.
        batch_frames: frames in a batch, whole clips.
        device: the tower's device.
        dtype: its precision.
        has_cls: whether features include the tower's CLS token.
        compiled: the compiled tower; None to run it as it is. Every batch then has ``batch_frames`` frames.
    """

    tower: nn.Module
    preprocessor: FramePreprocessor
    layer: int
    frames_per_clip: int
    batch_frames: int
    device: torch.device
    dtype: torch.dtype
    has_cls: bool = True
    compiled: CompiledTower | None = None

    def encode(
        self,
        frames: Frames | Iterable[Frames],
        stopwatch: Stopwatch | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> VisionFeatures:
        """Encode frames; the last frame is repeated to fill the last clip, and its copies are dropped.

        Args:
            frames: of one file, at full size or decoded to the preprocessor's ``shape``; whole, or in chunks, which are
                encoded as they come.
            stopwatch: counts the stages ``preprocess`` and ``encode``.
            on_progress: called with the number of frames encoded so far.

        Raises:
            BadArgument: there are no frames, or they were resized for another model.
        """
        stopwatch = stopwatch or Stopwatch(self.device)
        chunks = [frames] if isinstance(frames, Frames) else frames
        parts: list[VisionFeatures] = []
        done = 0
        for pixel_values, count in self._batches(self._prepare(chunks, stopwatch)):
            with stopwatch.stage("encode"):
                features = (
                    observe(self.tower, pixel_values, self.layer)
                    if self.compiled is None
                    else self.compiled.observe(pixel_values, self.layer)
                )
            if not self.has_cls:
                features = replace(features, cls=None)
            parts.append(features if features.num_frames == count else features[:count])
            done += count
            if on_progress:
                on_progress(done)
        return VisionFeatures.cat(parts)

    def _prepare(
        self, chunks: Iterable[Frames], stopwatch: Stopwatch
    ) -> Iterator[Float[Tensor, "frames 3 height width"]]:
        """Bring frames to the tower's size, range, device and dtype, a batch at a time."""
        wanted = self.preprocessor.shape
        for frames in chunks:
            if frames.shape not in (Shape(), wanted):
                raise BadArgument(
                    f"the frames were decoded to {frames.shape}, but this model takes {wanted}",
                    hint="decode them at full size, or to the shape of this model's preprocessor",
                )
            for pixels in torch.split(frames.pixels, self.batch_frames):
                with stopwatch.stage("preprocess"):
                    shaped = pixels if frames.shape == wanted else wanted.apply(pixels)
                    prepared = self.preprocessor.prepare(shaped, self.device, self.dtype)
                yield prepared

    def _batches(
        self, prepared: Iterable[Float[Tensor, "frames 3 height width"]]
    ) -> Iterator[tuple[Float[Tensor, "batch 3 height width"], int]]:
        """Group prepared frames into full batches, however the frames were divided into chunks.

        Yields each batch, and how many of its frames are not padding: the last frame fills the last clip, or the last
        batch if the tower is compiled.
        """
        unit = self.frames_per_clip if self.compiled is None else self.batch_frames
        waiting: Tensor | None = None
        for pixel_values in prepared:
            waiting = pixel_values if waiting is None else torch.cat([waiting, pixel_values])
            while len(waiting) >= self.batch_frames:
                yield waiting[: self.batch_frames], self.batch_frames
                waiting = waiting[self.batch_frames :]
        if waiting is not None and len(waiting):
            repeats = waiting[-1:].expand(-len(waiting) % unit, -1, -1, -1)
            yield torch.cat([waiting, repeats]), len(waiting)
