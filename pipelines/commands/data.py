"""``vidzip data``."""

from pipelines.data import data as command

__all__ = ["command"]
