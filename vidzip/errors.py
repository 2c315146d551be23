"""All errors that vidzip raises on purpose.

A message says what happened and what was expected; ``hint`` says what to do about it.
"""

from __future__ import annotations


class VidzipError(Exception):
    """Base class of all errors that vidzip raises on purpose.

    Attributes:
        message: what happened and what was expected, in one line.
        hint: what to do about it, in one line; empty if the message says everything.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[VidzipError], message: str, hint: str) -> VidzipError:
    """Rebuild a pickled error: pickle does not support keyword-only arguments."""
    return kind(message, hint=hint)


class BadArgument(VidzipError, ValueError):
    """An argument is invalid for any input: zero frames, a negative budget, an unknown policy."""


class SystemFault(VidzipError):
    """Base class of errors that do not depend on the input: a full disk, a killed process, wrong results."""


class VideoError(VidzipError):
    """Base class of errors of a video file."""


class VideoNotFound(VideoError):
    """There is no file at that path."""


class NotAVideo(VideoError):
    """The path is a folder, an empty file, or a file that is in no allowed container format."""


class NoVideoStream(VideoError):
    """The container has no video stream (audio only)."""


class NoFrames(VideoError):
    """The video stream has no frame."""


class DecodeError(VideoError):
    """A requested frame cannot be decoded."""


class EndsEarly(DecodeError):
    """A frame after the last one that can be decoded was requested.

    Attributes:
        end_seconds: end of the last frame that can be decoded, on the file's own clock; 0 without one.
    """

    def __init__(self, message: str, *, hint: str = "", end_seconds: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.end_seconds = end_seconds

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_ends_early, (self.message, self.hint, self.end_seconds))


def _rebuild_ends_early(message: str, hint: str, end_seconds: float) -> EndsEarly:
    return EndsEarly(message, hint=hint, end_seconds=end_seconds)


class FrameTooLarge(VideoError):
    """The frames of a file exceed the size limit."""


class TimeLimitExceeded(VideoError):
    """The time spent on a file exceeds the limit."""


class NotInstalled(VidzipError):
    """An optional library is needed that is not installed."""


class BackendUnavailable(VidzipError):
    """The requested decoder is not installed, or does not run here."""


class WriteError(VidzipError):
    """A file cannot be written, or exists."""


class DiskFull(WriteError, SystemFault):
    """There is no space left for a file."""


class BudgetTooSmall(VidzipError):
    """The token budget has fewer tokens than the requested frames need."""


class BudgetInfeasible(VidzipError):
    """Even the smallest plan exceeds the latency or memory limit."""


class PlanMismatch(VidzipError):
    """A plan was made for another video or model."""


class TowerMismatch(VidzipError):
    """A packed video was made by another vision tower."""


class BadPack(VidzipError):
    """A file is not a packed video, is damaged, or has a newer format."""


class UnknownModel(VidzipError):
    """A name is no built-in model, no folder, and no model on the hub that can be read."""


class BadModelFolder(VidzipError):
    """A folder lacks weights or settings, or holds a model of another kind."""


class BadCalibration(VidzipError):
    """A calibration file is damaged, or has a newer format."""


class CompilationFailed(SystemFault):
    """torch cannot compile the vision tower on this machine."""


class ConversionMismatch(SystemFault):
    """The outputs of a converted model differ from the original's."""


class DeviceUnavailable(VidzipError):
    """The requested device is not there."""


class OutOfMemory(VidzipError):
    """The device's memory is too small."""


class BadQuestion(VidzipError):
    """A question cannot be asked: it is empty, or contains the model's own special tokens."""


class ContextTooLong(VidzipError):
    """Prompt, visual tokens and answer exceed the language model's context length."""
