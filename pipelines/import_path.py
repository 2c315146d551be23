"""Check that ``eval`` is vidzip's package: the name is common, and another package may shadow it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from vidzip.errors import VidzipError


class ShadowedPackage(VidzipError):
    """Another package has the name of one of vidzip's."""


def check_eval_package() -> None:
    """Check that ``import eval`` finds the package beside this one.

    Raises:
        ShadowedPackage: it finds nothing, or another package; the message gives the path of that.
    """
    home = Path(__file__).resolve().parent.parent
    spec = find_spec("eval")
    if spec is None:
        raise ShadowedPackage(f"the package eval is missing from {home}", hint="install vidzip again")
    locations = [Path(location).resolve() for location in spec.submodule_search_locations or ()]
    if home / "eval" not in locations:
        found = locations[0] if locations else Path(str(spec.origin))
        raise ShadowedPackage(
            f"another package named eval shadows vidzip's: {found}",
            hint=f"remove {found.parent} from PYTHONPATH, or run vidzip in another folder",
        )


def exclude_current_folder() -> None:
    """Keep Python processes started from here from importing packages of the current folder."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")
