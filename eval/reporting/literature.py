"""Published accuracies, each with the questions and the judge behind it. They differ from those of the user's runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

_VIDEO_LLAVA = "Lin et al. 2023, arXiv 2311.10122 (Video-LLaVA)"
_VISIONZIP = "Yang et al. 2024, arXiv 2412.04467, Table 3"
_PRUNESID = "Fang et al. 2026, arXiv 2603.09480 (PruneSID)"
_FASTERVLM = "arXiv 2412.01818, 2024 (FasterVLM)"


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """A published accuracy.

    Attributes:
        system: the model and how its tokens were compressed.
        family: ``tgif``, ``msvd``, ``msrvtt`` or ``activitynet``; "TGIF" may mean several question sets.
        questions: which of the set's questions were asked.
        visual_tokens: the model's visual tokens, as published; empty if unknown.
        accuracy: in percent, according to the judge.
        judge: the judge's model.
        source: the publication.
        is_second_hand: whether the publication cites or reruns another system's result.
        note: what else matters.
    """

    system: str
    family: str
    questions: str
    visual_tokens: str
    accuracy: float
    judge: str
    source: str
    is_second_hand: bool = False
    note: str = ""


def _row(
    system: str,
    accuracies: tuple[float, float, float, float],
    source: str,
    *,
    questions: str,
    tgif: str = "",
    tokens: str = "",
    judge: str = "unknown",
    is_second_hand: bool = False,
    note: str = "",
) -> tuple[PublishedResult, ...]:
    """A system's results on TGIF, MSVD, MSRVTT and ActivityNet, in this order."""
    return tuple(
        PublishedResult(
            system=system,
            family=family,
            questions=(tgif or f"{questions}; TGIF may mean several sets") if family == "tgif" else questions,
            visual_tokens=tokens,
            accuracy=accuracy,
            judge=judge,
            source=source,
            is_second_hand=is_second_hand,
            note=note,
        )
        for family, accuracy in zip(("tgif", "msvd", "msrvtt", "activitynet"), accuracies, strict=True)
    )


_as_visionzip = partial(_row, questions="VisionZip's own choice", is_second_hand=True)
_as_fastervlm = partial(
    _row,
    source=_FASTERVLM,
    questions="first 1,000 of Video-LLaVA's file",
    tgif="first 1,000 of Video-LLaVA's mixture, all of them Action",
)

LITERATURE: tuple[PublishedResult, ...] = (
    *_row(
        "Video-LLaVA 7B",
        (70.0, 70.7, 59.2, 45.3),
        _VIDEO_LLAVA,
        questions="the authors' own choice",
        tokens="2,048",
        judge="gpt-3.5-turbo, version not stated",
    ),
    *_as_visionzip("Video-LLaVA 7B, as VisionZip's baseline", (47.1, 69.8, 56.7, 43.1), _VISIONZIP, tokens="2,048"),
    *_as_visionzip(
        "FastV",
        (23.1, 38.0, 19.3, 30.6),
        _VISIONZIP,
        note="contested: FasterVLM's rerun on the first 1,000 questions gives FastV 64 to 69 on MSVD",
    ),
    *_as_visionzip("SparseVLM", (44.7, 68.2, 31.0, 42.6), _VISIONZIP, note="contested by FasterVLM's rerun"),
    *_as_visionzip("VisionZip", (42.4, 63.5, 52.1, 43.0), _VISIONZIP, tokens="136"),
    *_as_visionzip("PruneSID", (45.8, 67.1, 53.3, 43.1), _PRUNESID, tokens="6.6 %"),
    *_as_fastervlm("Video-LLaVA 7B, as FasterVLM's baseline", (19.8, 70.5, 57.5, 43.6), tokens="2,048"),
    *_as_fastervlm("FasterVLM at 208", (15.6, 69.1, 55.3, 44.5), tokens="208"),
    *_as_fastervlm("FasterVLM at 104", (14.0, 65.3, 53.8, 43.7), tokens="104"),
)
"""The published results that reports show next to runs on the same set."""

NOT_COMPARABLE = (
    "These results used other questions, judges and copies of the videos. They are comparable with the runs above only if "
    "the same questions were asked and the same version of the judge was used: the scores of one set of predictions "
    "differed by 8 points between two versions of one judge."
)


def published_results(set_name: str) -> tuple[PublishedResult, ...]:
    """Find the results that were published for a set such as ``msvd`` or ``tgif-frameqa``."""
    return tuple(row for row in LITERATURE if row.family == set_name.split("-", maxsplit=1)[0])
