from __future__ import annotations

import pytest

from eval.shapes import Clip, make_clip


@pytest.fixture(scope="session")
def many() -> list[Clip]:
    """Clips enough to count answers on."""
    return [make_clip("train", 7, index) for index in range(500)]


@pytest.fixture(scope="session")
def some(many) -> list[Clip]:
    """Clips enough to check a law on each."""
    return many[:150]
