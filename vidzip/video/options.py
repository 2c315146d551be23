"""User options of decoding. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from vidzip.video.limits import DEFAULT_TIME_LIMIT_SECONDS


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """Options of decoding a file.

    Attributes:
        backend: ``"auto"``, or a name in :data:`vidzip.video.backends.BACKENDS`.
        workers: number of decoding threads; None for all CPUs that the process may use, up to 16.
        strict: raise an error for any damage. By default the readable part is used.
        time_limit_seconds: limit on the time spent on one file.
    """

    backend: str = "auto"
    workers: int | None = None
    strict: bool = False
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS
