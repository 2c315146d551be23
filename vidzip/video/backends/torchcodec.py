"""torchcodec: it decodes with this machine's FFmpeg libraries, or with a GPU's video decoder; then pictures stay there.

Every frame's time is held against vidzip's index. On the CPU, pictures are those of the default decoder bit for bit,
but where colour planes of more than 8 bits are smaller than the picture: what lies between their samples is guessed
otherwise. A GPU rounds colours otherwise.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Int64

from vidzip.errors import BackendUnavailable, TimeLimitExceeded, VidzipError
from vidzip.video.backends.borrowed import Loan, in_short, lend
from vidzip.video.info import ROUNDING_SECONDS
from vidzip.video.limits import TimeLimit
from vidzip.video.pictures import Picture
from vidzip.video.request import Request

_REFUSED = ("mpegts", "mpeg")
"""Formats in which it loses the first or the last frames."""

_BATCH_BYTES = 64 << 20
"""What the full-size pictures that are decoded in one go may hold."""


def pictures(request: Request) -> Generator[Picture, None, None]:
    """Yield the picture on screen at each moment, in order.

    Raises:
        BackendUnavailable: torchcodec is not installed, does not run here, or the GPU that was asked for is not there.
        EndsEarly: the video ends before a moment.
        DecodeError: torchcodec cannot decode a frame, or gives another one.
        VideoError: the file cannot be opened as a video, or takes too long.
    """
    limit = request.new_limit()
    make_decoder = _load(request.device)
    with lend(request, limit, "torchcodec", refused=_REFUSED) as loan:
        with _told(loan, limit):
            decoder = make_decoder(
                _Timed(loan.file, limit),
                stream_index=loan.stream,
                num_ffmpeg_threads=request.workers,
                device=request.device if _is_gpu(request.device) else "cpu",
                seek_mode="exact",
            )
        height, width = loan.stored
        size = max(1, _BATCH_BYTES // (3 * height * width))
        numbers, repeats = np.unique(loan.frames, return_counts=True)
        for begin in range(0, len(numbers), size):
            batch = slice(begin, begin + size)
            limit.check()
            with _told(loan, limit):
                made = _decode(decoder, loan, numbers[batch])
            for picture, count in zip(made, repeats[batch].tolist(), strict=True):
                for _ in range(count):
                    with limit.paused():
                        yield picture


def _load(device: str) -> Any:
    """Load the library's decoder; it is optional, and its types are not known where it is not installed."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendUnavailable(
            f"the decoder torchcodec cannot be used ({in_short(error)})",
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
def _told(loan: Loan, limit: TimeLimit) -> Iterator[None]:
    """Turn what the library raises into an error of ours."""
    try:
        yield
    except VidzipError:
        raise
    except Exception as error:
        limit.check()
        raise loan.refusal(in_short(error)) from error


def _decode(decoder: Any, loan: Loan, numbers: Int64[np.ndarray, " frames"]) -> list[Picture]:
    """Decode some frames, by their numbers."""
    frames = decoder.get_frames_at(numbers.tolist())
    seconds = loan.index.seconds[numbers]
    found = frames.pts_seconds.cpu().numpy() - loan.index.origin_seconds
    wrong = np.flatnonzero(np.abs(found - seconds) > ROUNDING_SECONDS)
    if len(wrong):
        raise loan.refusal(f"it gives the frame of {found[wrong[0]]:.3f} s for that of {seconds[wrong[0]]:.3f} s")
    shaped = loan.shape(frames.data)
    return [Picture(pixels=pixels, timestamp_seconds=at) for pixels, at in zip(shaped, seconds.tolist(), strict=True)]


class _Timed:
    """An open file that ends when time is up: an exception could not pass through FFmpeg."""

    def __init__(self, file: BinaryIO, limit: TimeLimit) -> None:
        self._file, self._limit = file, limit
        self.seek = file.seek

    def read(self, size: int) -> bytes:
        try:
            self._limit.check()
        except TimeLimitExceeded:
            return b""
        return self._file.read(size)
