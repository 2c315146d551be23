"""Compare variants: ratios of times within rounds, and of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.bench.measuring import ENCODE_COMPRESS, FROM_FILE, FROM_FRAMES, REFERENCE_DTYPE, CaseResult
from pipelines.bench.medians import Median, median, median_ratio
from pipelines.bench.settings import ENCODE, FILE, PUBLISHED, PUBLISHED_ONE_BATCH, TOWER, UNCOMPRESSED, VIDZIP, Case
from pipelines.settings import BASELINE_FRAMES

MEMORY = "peak memory of activations"
"""Name of the comparison of memory; the others are names of times."""

_PAIRS = (
    (ENCODE_COMPRESS, PUBLISHED, VIDZIP),
    (ENCODE_COMPRESS, PUBLISHED_ONE_BATCH, VIDZIP),
    (ENCODE_COMPRESS, VIDZIP, ENCODE),
    (ENCODE_COMPRESS, ENCODE, TOWER),
    (MEMORY, PUBLISHED, VIDZIP),
    (MEMORY, PUBLISHED_ONE_BATCH, VIDZIP),
    (FROM_FRAMES, VIDZIP, UNCOMPRESSED),
    (FROM_FILE, FILE, UNCOMPRESSED),
)
"""Name of the comparison, variant, and baseline variant."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A case relative to a baseline.

    Attributes:
        name: :data:`MEMORY` or the name of a time.
        case: the case.
        baseline: the baseline case.
        ratio: median over rounds; memory has one.
    """

    name: str
    case: Case
    baseline: Case
    ratio: Median


def compare(results: Sequence[CaseResult]) -> Iterator[Comparison]:
    """Compare cases with the same video, precision, frames and tokens, if both have them.

    vidzip in half precision is also compared with the published variants in float32.
    """
    for name, variant, baseline_variant in _PAIRS:
        for result in results:
            for baseline in results:
                variants = (result.case.variant, baseline.case.variant)
                if variants == (variant, baseline_variant) and _are_comparable(result.case, baseline.case):
                    ratio = _ratio(name, result, baseline)
                    if ratio is not None:
                        yield Comparison(name=name, case=result.case, baseline=baseline.case, ratio=ratio)


def _are_comparable(case: Case, baseline: Case) -> bool:
    is_uncompressed = UNCOMPRESSED in (case.variant, baseline.variant)
    is_published_in_float32 = (case.variant, case.dtype, baseline.variant) in {
        (published, REFERENCE_DTYPE, VIDZIP) for published in (PUBLISHED, PUBLISHED_ONE_BATCH)
    }
    return (
        case.video == baseline.video
        and (case.dtype == baseline.dtype or is_published_in_float32)
        and (case.frames == baseline.frames or is_uncompressed)
        and (case.tokens == baseline.tokens or None in (case.tokens, baseline.tokens))
    )


def _ratio(name: str, result: CaseResult, baseline: CaseResult) -> Median | None:
    if name != MEMORY:
        seconds, baseline_seconds = result.seconds(name), baseline.seconds(name)
        return median_ratio(seconds, baseline_seconds) if seconds and baseline_seconds else None
    if result.encode_peak_bytes is None or not baseline.encode_peak_bytes:
        return None
    return median([result.encode_peak_bytes / baseline.encode_peak_bytes])


def describe_comparison(comparison: Comparison) -> tuple[str, str, str]:
    """Return what is compared, the frames and tokens, and the precisions, as text."""
    case, baseline = comparison.case, comparison.baseline
    baseline_title = f"{BASELINE_FRAMES} uncompressed frames" if baseline.variant == UNCOMPRESSED else baseline.variant
    tokens = case.tokens or baseline.tokens
    dtypes = " / ".join(dict.fromkeys((case.dtype, baseline.dtype)))
    sizes = f"{case.frames} frames" + ("" if tokens is None else f", {tokens} tokens")
    return f"{comparison.name}: {case.variant} / {baseline_title}", sizes, dtypes
