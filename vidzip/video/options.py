"""How files are decoded, as a user chooses it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from vidzip.video.limits import DEFAULT_TIME_LIMIT_SECONDS


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How files are decoded, for what decodes on the way.

    Attributes:
        backend: ``"auto"``, or the name of one of :data:`vidzip.video.backends.BACKENDS`.
        workers: threads that decode; all cores the process may use when left out.
        strict: whether any damage is an error. By default what can be decoded is used.
        time_limit_seconds: how long one file may be worked on.
    """

    backend: str = "auto"
    workers: int | None = None
    strict: bool = False
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS
