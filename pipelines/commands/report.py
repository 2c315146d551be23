"""``vidzip report``."""

from pipelines.scoring.report import report_command as command

__all__ = ["command"]
