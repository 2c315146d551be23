"""The check for matplotlib, which commands make before they measure what they will plot."""

from __future__ import annotations

from importlib.util import find_spec

from vidzip.errors import SystemFault


class PlottingUnavailable(SystemFault):
    """matplotlib is not installed."""


def check_plotting() -> None:
    """Check that plots can be drawn.

    Raises:
        PlottingUnavailable: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise PlottingUnavailable("plots need matplotlib, which is not installed", hint="pip install 'vidzip[report]'")
