"""Make sure that ``eval`` is ours: its name is common, and a user's folder may hold its own."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from vidzip.errors import VidzipError


class ShadowedPackage(VidzipError):
    """Another package stands in the place of one of ours."""


def check_siblings() -> None:
    """Check that the package ``eval`` lies beside this one.

    Raises:
        ShadowedPackage: it does not; the message names the folder that hides it.
    """
    home = Path(__file__).resolve().parent.parent
    spec = find_spec("eval")
    places = [Path(place).resolve() for place in (spec.submodule_search_locations if spec else None) or ()]
    if home / "eval" in places:
        return
    if spec is None:
        raise ShadowedPackage(f"the package eval is missing beside {home / 'pipelines'}", hint="install vidzip again")
    found = places[0] if places else spec.origin
    raise ShadowedPackage(
        f"another package eval hides vidzip's own: {found}",
        hint=f"take {Path(str(found)).parent} off PYTHONPATH, or run vidzip from elsewhere",
    )


def keep_workers_off_this_folder() -> None:
    """Let no Python process started from here put the current folder first on its path, where it may hide ours."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")
