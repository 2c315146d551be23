"""torchcodec: decodes with the installed FFmpeg libraries, or on a GPU, where the frames then stay.

Every frame's timestamp is checked against vidzip's index. On the CPU, frames equal those of the default decoder bit by
bit, except for more than 8 bits with subsampled colors, which are interpolated differently. A GPU rounds colors
differently.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Int64

from vidzip.errors import BackendUnavailable, TimeLimitExceeded, VidzipError
from vidzip.video.backends.external import ExternalFile, first_line, open_external
from vidzip.video.conversion import DecodedFrame
from vidzip.video.info import ROUNDING_SECONDS
from vidzip.video.limits import TimeLimit
from vidzip.video.request import DecodeRequest

_REFUSED_FORMATS = ("mpegts", "mpeg")
"""Formats for which it misses the first or the last frames."""

_BATCH_BYTES = 64 << 20
"""Limit on the full-size frames decoded at a time."""


def decode_frames(request: DecodeRequest) -> Generator[DecodedFrame, None, None]:
    """Yield the frame on screen at each timestamp, in order.

    Raises:
        BackendUnavailable: torchcodec is not installed, does not run here, or the GPU is not there.
        EndsEarly: the video ends before a timestamp.
        DecodeError: torchcodec cannot decode a frame, or returns another one.
        VideoError: the file cannot be opened as a video, or takes too long.
    """
    limit = request.new_limit()
    decoder_type = _load(request.device)
    with open_external(request, limit, "torchcodec", refused_formats=_REFUSED_FORMATS) as external:
        with _converted_errors(external, limit):
            decoder = decoder_type(
                _LimitedFile(external.file, limit),
                stream_index=external.stream,
                num_ffmpeg_threads=request.workers,
                device=request.device if _is_gpu(request.device) else "cpu",
                seek_mode="exact",
            )
        height, width = external.stored_size
        size = max(1, _BATCH_BYTES // (3 * height * width))
        numbers, repeats = np.unique(external.frames, return_counts=True)
        for start in range(0, len(numbers), size):
            batch = slice(start, start + size)
            limit.check()
            with _converted_errors(external, limit):
                frames = _decode_batch(decoder, external, numbers[batch])
            for frame, count in zip(frames, repeats[batch].tolist(), strict=True):
                for _ in range(count):
                    with limit.paused():
                        yield frame


def _load(device: str) -> Any:
    """Import the library's decoder; it is optional, so its types are unknown."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendUnavailable(
            f"the decoder torchcodec cannot be used ({first_line(error)})",
            hint="pip install 'vidzip[torchcodec]', and install FFmpeg's libraries; beside a CPU build of torch 2.13, "
            "only torchcodec 0.13.0 runs",
        ) from error
    if _is_gpu(device) and not torch.cuda.is_available():
        raise BackendUnavailable(
            f"torchcodec cannot decode on {device!r}: torch finds no GPU here",
            hint="decode on the CPU (device='cpu'), or install a CUDA build of torch",
        )
    return VideoDecoder


def _is_gpu(device: str) -> bool:
    return device.startswith("cuda")


@contextmanager
def _converted_errors(external: ExternalFile, limit: TimeLimit) -> Iterator[None]:
    """Convert the library's errors to vidzip's."""
    try:
        yield
    except VidzipError:
        raise
    except Exception as error:
        limit.check()
        raise external.error(first_line(error)) from error


def _decode_batch(decoder: Any, external: ExternalFile, numbers: Int64[np.ndarray, " frames"]) -> list[DecodedFrame]:
    """Decode frames by their numbers."""
    frames = decoder.get_frames_at(numbers.tolist())
    expected = external.index.seconds[numbers]
    found = frames.pts_seconds.cpu().numpy() - external.index.origin_seconds
    wrong = np.flatnonzero(np.abs(found - expected) > ROUNDING_SECONDS)
    if len(wrong):
        raise external.error(f"it returned the frame of {found[wrong[0]]:.3f} s for {expected[wrong[0]]:.3f} s")
    resized = external.resize(frames.data)
    return [
        DecodedFrame(pixels=pixels, timestamp_seconds=seconds)
        for pixels, seconds in zip(resized, expected.tolist(), strict=True)
    ]


class _LimitedFile:
    """An open file that ends when the time limit is exceeded; exceptions cannot pass through FFmpeg."""

    def __init__(self, file: BinaryIO, limit: TimeLimit) -> None:
        self._file, self._limit = file, limit
        self.seek = file.seek

    def read(self, size: int) -> bytes:
        try:
            self._limit.check()
        except TimeLimitExceeded:
            return b""
        return self._file.read(size)
