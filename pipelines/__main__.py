"""Where ``vidzip`` and ``python -m pipelines`` begin: small, so that an interruption is caught from the start."""

from __future__ import annotations

import sys


def main() -> int:
    """Load the command line and run it; return its exit code."""
    try:
        from pipelines.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
