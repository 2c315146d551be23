"""``vidzip agree``."""

from pipelines.scoring.command import agree_command as command

__all__ = ["command"]
