"""How ways compare: ratios of seconds, taken within a round, and of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.bench.figures import Middle, middle, ratio
from pipelines.bench.measuring import FROM_FILE, FROM_FRAMES, REFERENCE, SHRINK, Measured
from pipelines.bench.settings import ENCODE, FILE, FULL, OURS, PUBLISHED, TOWER, WHOLE, Case
from pipelines.settings import BASELINE_FRAMES

MEMORY = "peak memory of activations"
"""What is compared where it is not seconds."""

_PAIRS = (
    (SHRINK, PUBLISHED, OURS),
    (SHRINK, WHOLE, OURS),
    (SHRINK, OURS, ENCODE),
    (SHRINK, ENCODE, TOWER),
    (MEMORY, PUBLISHED, OURS),
    (MEMORY, WHOLE, OURS),
    (FROM_FRAMES, OURS, FULL),
    (FROM_FILE, FILE, FULL),
)
"""What is compared, of which way, with which other one's."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What one case takes over another.

    Attributes:
        what: seconds, by their name, or :data:`MEMORY`.
        case: the one above the line.
        against: the one below it.
        ratio: round by round; of memory, from the one round that it was measured in.
    """

    what: str
    case: Case
    against: Case
    ratio: Middle


def compare(measured: Sequence[Measured]) -> Iterator[Comparison]:
    """Compare all that may be: cases of the same video, precision, frames and tokens, as far as both have these.

    Where vidzip's own way was measured in half precision too, it is held against the published one in float32 as well.
    """
    for what, above, below in _PAIRS:
        for one in measured:
            for other in measured:
                if (one.case.way, other.case.way) == (above, below) and _belong(one.case, other.case):
                    found = _ratio(what, one, other)
                    if found is not None:
                        yield Comparison(what=what, case=one.case, against=other.case, ratio=found)


def _belong(one: Case, other: Case) -> bool:
    is_full = FULL in (one.way, other.way)
    is_half = (one.way, one.dtype, other.way) in {(way, REFERENCE, OURS) for way in (PUBLISHED, WHOLE)}
    return (
        one.video == other.video
        and (one.dtype == other.dtype or is_half)
        and (one.frames == other.frames or is_full)
        and (one.tokens == other.tokens or None in (one.tokens, other.tokens))
    )


def _ratio(what: str, one: Measured, other: Measured) -> Middle | None:
    if what != MEMORY:
        above, below = one.series(what), other.series(what)
        return ratio(above, below) if above and below else None
    if one.look_bytes is None or not other.look_bytes:
        return None
    return middle([one.look_bytes / other.look_bytes])


def described(comparison: Comparison) -> tuple[str, str, str]:
    """Say what is compared, of how many frames and tokens, and in which precision."""
    case, against = comparison.case, comparison.against
    other = f"{BASELINE_FRAMES} full frames" if against.way == FULL else against.way
    tokens = case.tokens or against.tokens
    dtypes = " / ".join(dict.fromkeys((case.dtype, against.dtype)))
    looks = f"{case.frames} frames" + ("" if tokens is None else f", {tokens} tokens")
    return f"{comparison.what}: {case.way} / {other}", looks, dtypes
