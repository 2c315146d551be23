"""What reading any checkpoint folder takes: its settings, libraries that keep silent, and their errors in one line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from vidzip.errors import BadModelFolder


def read_settings(file: Path) -> dict[str, Any]:
    """Read a checkpoint's JSON file of settings.

    Raises:
        BadModelFolder: it is not there, cannot be read, or holds no settings.
    """
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadModelFolder(
            f"{file.parent} holds no {file.name}", hint="give a checkpoint's folder, with its config and weights"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadModelFolder(f"{file} cannot be read: {error}", hint="fetch the checkpoint again") from error
    if not isinstance(settings, dict):
        raise BadModelFolder(f"{file} holds no settings", hint="fetch the checkpoint again")
    return settings


@contextmanager
def quietly() -> Iterator[None]:
    """Load in silence: a library draws on nobody's terminal, and what is wrong is raised."""
    was_shown, loudness = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    accelerate = logging.getLogger("accelerate")
    level = accelerate.level
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    accelerate.setLevel(logging.ERROR)
    try:
        yield
    finally:
        accelerate.setLevel(level)
        transformers_logging.set_verbosity(loudness)
        if was_shown:
            transformers_logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """What an error says, in one line: its first, and where that only announces the next, both."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {said}" if isinstance(error, KeyError) else said
