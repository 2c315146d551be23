"""decord, in a process of its own: it hangs on some files, and then the process is ended.

It gives frames by number, and does not say which ones came. So it is trusted only with the formats and codecs in which
it was seen to be right, where its list of frames is that of vidzip's index, and where every keyframe starts anew: it
miscounts from one that earlier frames of the screen follow. Pictures are those of the default decoder bit for bit, but
where colour planes of more than 8 bits are smaller than the picture, and where the picture size changes on the way:
it brings all to the first one's.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vidzip.errors import BackendUnavailable, DecodeError
from vidzip.video.backends.borrowed import Loan, in_short, lend
from vidzip.video.info import ROUNDING_SECONDS
from vidzip.video.limits import TimeLimit
from vidzip.video.pictures import Picture
from vidzip.video.request import Request

_FORMATS = {"mov", "matroska"}
_CODECS = {"h264", "hevc", "vp8", "vp9", "mpeg4"}

_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "decord_process.py")

_SIZE_BYTES = 8
"""What the process says begins with how long it is."""

_GLANCE_SECONDS = 0.1
"""How often the clock is looked at while the process says nothing."""

_ENDING_SECONDS = 1.0
"""How long a process that has closed its end is given to end."""


def pictures(request: Request) -> Generator[Picture, None, None]:
    """Yield the picture on screen at each moment, in order.

    Raises:
        BackendUnavailable: decord is not installed, or does not run here.
        EndsEarly: the video ends before a moment.
        DecodeError: decord cannot decode the file, or finds other frames in it, or its process ends.
        TimeLimitExceeded: it took too long; its process is ended.
        VideoError: the file cannot be opened as a video.
    """
    limit = request.new_limit()
    with lend(request, limit, "decord", believe_header=False) as loan:
        if not (loan.formats & _FORMATS and loan.codec in _CODECS):
            raise loan.refusal(f"it is not known to give the right frames of {loan.codec} in {min(loan.formats)}")
        numbers, repeats = np.unique(loan.frames, return_counts=True)
        with _Process(loan, limit) as process:
            _check_frames(loan, process.receive())
            process.send(numbers.tolist())
            for number, count in zip(numbers.tolist(), repeats.tolist(), strict=True):
                pixels = loan.shape(process.receive_pixels())[0]
                picture = Picture(pixels=pixels, timestamp_seconds=float(loan.index.seconds[number]))
                for _ in range(count):
                    with limit.paused():
                        yield picture


def _check_frames(loan: Loan, listed: dict[str, Any]) -> None:
    """Make sure that its frames are numbered as those of the index, also after a jump to a keyframe."""
    index = loan.index
    seconds = np.array(listed["seconds"])
    if len(seconds) != len(index.ticks):
        raise loan.refusal(f"it finds {len(seconds)} frames, not {len(index.ticks)}")
    wanted = index.seconds - index.seconds[0]  # its own clock starts with the first frame, and has single precision
    if (np.abs(seconds - seconds[0] - wanted) > ROUNDING_SECONDS + 2 * np.spacing(np.float32(wanted[-1]))).any():
        raise loan.refusal("it takes the frames for those of other moments")
    if listed["keys"] != np.searchsorted(index.ticks, index.keys).tolist():
        raise loan.refusal("it miscounts from keyframes that do not start anew (open groups of pictures)")


class _Process:
    """decord's process, which is ended with the block."""

    def __init__(self, loan: Loan, limit: TimeLimit) -> None:
        self._loan, self._limit = loan, limit
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(_GLANCE_SECONDS)
        ends = [loan.file.fileno(), theirs.fileno()]
        given = [*ends, loan.request.workers, loan.request.time_limit_seconds]
        with theirs:
            try:
                # -P: no module of the child's own folder, which this one is in, takes decord's name.
                self._process = subprocess.Popen(  # noqa: S603 - this Python, and a file of this package
                    [sys.executable, "-P", _CHILD, *map(str, given)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=ends,
                )
            except (OSError, ValueError) as error:
                self._channel.close()
                raise BackendUnavailable(
                    f"the decoder decord needs a process of its own, which cannot be started ({error})",
                    hint="use the default decoder (auto), which needs none",
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def send(self, numbers: Sequence[int]) -> None:
        """Tell it which frames are wanted."""
        left = memoryview(json.dumps(numbers).encode() + b"\n")
        while left:
            left = left[self._patiently(self._channel.send, left) :]

    def receive(self) -> dict[str, Any]:
        """Receive what it says.

        Raises:
            BackendUnavailable: decord is not there.
            DecodeError: it cannot decode the file, or the process has ended.
        """
        size = int.from_bytes(self._receive(_SIZE_BYTES))
        said: dict[str, Any] = json.loads(self._receive(size))
        if "unavailable" in said:
            raise BackendUnavailable(
                f"the decoder decord cannot be used ({in_short(said['unavailable'])})",
                hint="pip install 'vidzip[decord]' (there are builds for x86-64 only), or use the default decoder (auto)",
            )
        if "error" in said:
            raise self._loan.refusal(in_short(said["error"]))
        return said

    def receive_pixels(self) -> UInt8[Tensor, "1 3 height width"]:
        """Receive one picture."""
        height, width, channels = self.receive()["shape"]
        if channels != 3:
            raise self._loan.refusal(f"it gives pictures of {channels} colours")
        pixels = np.frombuffer(self._receive(height * width * channels), dtype=np.uint8)
        return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1)[None]

    def _receive(self, size: int) -> bytearray:
        received = bytearray(size)
        left = memoryview(received)
        while left:
            count = self._patiently(self._channel.recv_into, left)
            if not count:
                raise self._death()
            left = left[count:]
        return received

    def _patiently(self, act: Callable[[memoryview], int], left: memoryview) -> int:
        while True:
            self._limit.check()
            try:
                return act(left)
            except TimeoutError:
                continue
            except OSError as error:
                raise self._death() from error

    def _death(self) -> DecodeError:
        """Say how the process has ended; to be raised."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_SECONDS)
        self._process.kill()  # where it only closed its end
        code = self._process.wait()
        self._limit.check()
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        return self._loan.refusal(f"its process ended ({how})")
