"""``vidzip bench``."""

from pipelines.bench.command import bench_command as command

__all__ = ["command"]
