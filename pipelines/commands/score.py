"""``vidzip score``."""

from pipelines.scoring.command import score_command as command

__all__ = ["command"]
