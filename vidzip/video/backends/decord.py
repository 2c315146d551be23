"""decord, in a process of its own, which is killed if it hangs, as it does on some files.

It returns frames by number, without timestamps. So it is used only for formats and codecs for which it was correct in
tests, if its list of frames equals vidzip's index, and if there are no open groups, after whose keyframes it miscounts.
Frames equal those of the default decoder bit by bit, except for more than 8 bits with subsampled colors, and for files
whose frame size changes: it resizes all frames to the first one's size.
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
from vidzip.video.backends.external import ExternalFile, first_line, open_external
from vidzip.video.conversion import DecodedFrame
from vidzip.video.info import ROUNDING_SECONDS
from vidzip.video.limits import TimeLimit
from vidzip.video.request import DecodeRequest

_FORMATS = {"mov", "matroska"}
_CODECS = {"h264", "hevc", "vp8", "vp9", "mpeg4"}

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "decord_process.py")

_LENGTH_BYTES = 8
"""Bytes of the length before each message of the process."""

_POLL_SECONDS = 0.1
"""Interval of checking the time limit while waiting for the process."""

_EXIT_SECONDS = 1.0
"""Time for a process to exit after it has closed its socket."""


def decode_frames(request: DecodeRequest) -> Generator[DecodedFrame, None, None]:
    """Yield the frame on screen at each timestamp, in order.

    Raises:
        BackendUnavailable: decord is not installed, or does not run here.
        EndsEarly: the video ends before a timestamp.
        DecodeError: decord cannot decode the file, or lists other frames, or its process ends.
        TimeLimitExceeded: it took too long; its process is killed.
        VideoError: the file cannot be opened as a video.
    """
    limit = request.new_limit()
    with open_external(request, limit, "decord", trust_header=False) as external:
        if not (external.formats & _FORMATS and external.codec in _CODECS):
            raise external.error(f"it is not tested with {external.codec} in {min(external.formats)}")
        numbers, repeats = np.unique(external.frames, return_counts=True)
        with _Process(external, limit) as process:
            _check_frames(external, process.receive())
            process.send(numbers.tolist())
            for number, count in zip(numbers.tolist(), repeats.tolist(), strict=True):
                pixels = external.resize(process.receive_pixels())[0]
                frame = DecodedFrame(pixels=pixels, timestamp_seconds=float(external.index.seconds[number]))
                for _ in range(count):
                    with limit.paused():
                        yield frame


def _check_frames(external: ExternalFile, listed: dict[str, Any]) -> None:
    """Check that its frames have the same numbers as in the index, also after a seek to a keyframe."""
    index = external.index
    seconds = np.array(listed["seconds"])
    if len(seconds) != len(index.ticks):
        raise external.error(f"it finds {len(seconds)} frames, not {len(index.ticks)}")
    expected = index.seconds - index.seconds[0]  # its clock starts at the first frame, in single precision
    if (np.abs(seconds - seconds[0] - expected) > ROUNDING_SECONDS + 2 * np.spacing(np.float32(expected[-1]))).any():
        raise external.error("its timestamps differ")
    if listed["keyframes"] != np.searchsorted(index.ticks, index.keyframes).tolist():
        raise external.error("it miscounts from keyframes of open groups of pictures")


class _Process:
    """decord's process, which is killed at the end of the block."""

    def __init__(self, external: ExternalFile, limit: TimeLimit) -> None:
        self._external, self._limit = external, limit
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_POLL_SECONDS)
        handles = [external.file.fileno(), theirs.fileno()]
        arguments = [*handles, external.request.workers, external.request.time_limit_seconds]
        with theirs:
            try:
                # -P: no module of the script's folder, such as this one, is imported as decord.
                self._process = subprocess.Popen(  # noqa: S603 - this Python, and a file of this package
                    [sys.executable, "-P", _SCRIPT, *map(str, arguments)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=handles,
                )
            except (OSError, ValueError) as error:
                self._socket.close()
                raise BackendUnavailable(
                    f"the process of the decoder decord cannot be started ({error})",
                    hint="use the default decoder (auto), which needs none",
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def send(self, numbers: Sequence[int]) -> None:
        """Send the numbers of the wanted frames."""
        left = memoryview(json.dumps(numbers).encode() + b"\n")
        while left:
            left = left[self._retry(self._socket.send, left) :]

    def receive(self) -> dict[str, Any]:
        """Receive a message.

        Raises:
            BackendUnavailable: decord cannot be imported.
            DecodeError: it cannot decode the file, or the process has ended.
        """
        length = int.from_bytes(self._receive(_LENGTH_BYTES))
        message: dict[str, Any] = json.loads(self._receive(length))
        if "unavailable" in message:
            raise BackendUnavailable(
                f"the decoder decord cannot be used ({first_line(message['unavailable'])})",
                hint="pip install 'vidzip[decord]' (only built for x86-64), or use the default decoder (auto)",
            )
        if "error" in message:
            raise self._external.error(first_line(message["error"]))
        return message

    def receive_pixels(self) -> UInt8[Tensor, "1 3 height width"]:
        """Receive one frame."""
        height, width, channels = self.receive()["shape"]
        if channels != 3:
            raise self._external.error(f"it returned frames of {channels} channels")
        pixels = np.frombuffer(self._receive(height * width * channels), dtype=np.uint8)
        return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1)[None]

    def _receive(self, size: int) -> bytearray:
        received = bytearray(size)
        left = memoryview(received)
        while left:
            count = self._retry(self._socket.recv_into, left)
            if not count:
                raise self._exit_error()
            left = left[count:]
        return received

    def _retry(self, transfer: Callable[[memoryview], int], left: memoryview) -> int:
        """Call until data is transferred or the time limit is exceeded."""
        while True:
            self._limit.check()
            try:
                return transfer(left)
            except TimeoutError:
                continue
            except OSError as error:
                raise self._exit_error() from error

    def _exit_error(self) -> DecodeError:
        """Return the error to raise for a process that has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)
        self._process.kill()  # if it only closed its socket
        code = self._process.wait()
        self._limit.check()
        status = signal.Signals(-code).name if code < 0 else f"code {code}"
        return self._external.error(f"its process ended ({status})")
