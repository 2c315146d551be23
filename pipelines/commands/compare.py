"""``vidzip compare``."""

from pipelines.scoring.command import compare_command as command

__all__ = ["command"]
