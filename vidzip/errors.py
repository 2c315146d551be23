"""Every error vidzip raises on purpose.

Each message says what came, what is needed and what to do. ``hint`` holds the last part on its own, so that a
command line can show it on a line of its own; ``str(error)`` holds everything.
"""

from __future__ import annotations


class VidzipError(Exception):
    """Base class: catch this to catch everything vidzip raises on purpose.

    Attributes:
        message: what came and what is needed, in one line.
        hint: what to do about it, in one line; empty where the message says it all.
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
    """Let errors cross process boundaries: pickle cannot pass keyword-only arguments by itself."""
    return kind(message, hint=hint)


class BadArgument(VidzipError, ValueError):
    """A value that no input could make meaningful: zero frames, a negative budget, an unknown policy."""


class SystemFault(VidzipError):
    """Base class of what no other input would mend: the machine lacks room, ends a process, or computes otherwise."""


class VideoError(VidzipError):
    """Base class of everything that can be wrong with a video file."""


class VideoNotFound(VideoError):
    """There is no file at that path."""


class NotAVideo(VideoError):
    """The path is a folder, an empty file, or a file that no allowed container format recognises."""


class NoVideoStream(VideoError):
    """The container is fine, but holds no picture (audio only)."""


class NoFrames(VideoError):
    """There is a video stream, but not one frame in it."""


class DecodeError(VideoError):
    """The file ends or breaks before a frame that was asked for."""


class EndsEarly(DecodeError):
    """Frames were asked for past the last one that can be decoded.

    Attributes:
        ends_seconds: when that one leaves the screen, on the file's own clock; 0 where not one can be decoded.
    """

    def __init__(self, message: str, *, hint: str = "", ends_seconds: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.ends_seconds = ends_seconds

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_ends_early, (self.message, self.hint, self.ends_seconds))


def _rebuild_ends_early(message: str, hint: str, ends_seconds: float) -> EndsEarly:
    return EndsEarly(message, hint=hint, ends_seconds=ends_seconds)


class PictureTooLarge(VideoError):
    """A file promises pictures of more pixels than any video needs."""


class TimeLimitExceeded(VideoError):
    """A file was worked on for longer than it may be."""


class NotInstalled(VidzipError):
    """What was asked for needs an optional library that is not installed."""


class BackendUnavailable(VidzipError):
    """The decoder that was asked for is not installed, or does not run here."""


class WriteError(VidzipError):
    """A file cannot be written, or is there already."""


class DiskFull(WriteError, SystemFault):
    """There is no room left for a file."""


class BudgetTooSmall(VidzipError):
    """The token budget has fewer tokens than the requested frames need."""


class BudgetInfeasible(VidzipError):
    """Even the smallest plan exceeds the latency or memory limit."""


class PlanMismatch(VidzipError):
    """A plan is used with a video or a model that it was not made for."""


class TowerMismatch(VidzipError):
    """A packed video is used with a vision tower that did not make it."""


class BadPack(VidzipError):
    """A file that is no packed video, is damaged, or is of a newer format."""


class UnknownModel(VidzipError):
    """The name is no built-in model, no folder, and no model that the hub gives out."""


class BadModelFolder(VidzipError):
    """The folder lacks weights or settings, or holds a model of another kind."""


class BadCalibration(VidzipError):
    """A file of measured rates that is damaged, or of a newer format."""


class CompilationFailed(SystemFault):
    """torch cannot compile the vision tower on this machine."""


class ConversionMismatch(SystemFault):
    """A converted model does not compute what the original does."""


class DeviceUnavailable(VidzipError):
    """The device that was asked for is not there."""


class OutOfMemory(VidzipError):
    """The device's memory does not hold what was asked of it."""


class BadQuestion(VidzipError):
    """A question that cannot be put to the model: empty, or holding the model's own markers."""


class ContextTooLong(VidzipError):
    """Prompt, visual tokens and answer do not fit the language model's context."""
