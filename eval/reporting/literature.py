"""Published accuracies, each with the questions it is of. They are of other questions, other judges, other videos."""

from __future__ import annotations

from dataclasses import dataclass

_VIDEO_LLAVA = "Lin et al. 2023, arXiv 2311.10122 (Video-LLaVA)"
_VISIONZIP = "Yang et al. 2024, arXiv 2412.04467, Table 3"
_PRUNESID = "Fang et al. 2026, arXiv 2603.09480 (PruneSID)"
_FASTERVLM = "arXiv 2412.01818, 2024 (FasterVLM)"

_AUTHORS = "the authors' own choice"
_LIKE_VISIONZIP = "VisionZip's own choice"
_FIRST = "first 1,000 of Video-LLaVA's file"
_FIRST_TGIF = "first 1,000 of Video-LLaVA's mixture, all of them Action"
_UNPINNED = "gpt-3.5-turbo, no version named"
_UNKNOWN = "not known here"

_CONTESTED = "contested: FasterVLM's rerun on the first 1,000 questions gives FastV 64 to 69 on MSVD"


@dataclass(frozen=True, kw_only=True)
class Published:
    """An accuracy that someone published.

    Attributes:
        system: the model and what was done to its tokens.
        family: ``tgif``, ``msvd``, ``msrvtt`` or ``activitynet``; "TGIF" names several question sets.
        questions: which of its questions were asked.
        visual_tokens: how many the model was shown, as published; empty where it is not said here.
        accuracy: in percent, as judged.
        judge: who judged.
        source: where it is published.
        is_second_hand: whether it was taken from someone else's table of it.
        note: what to know of it.
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
    judge: str = _UNKNOWN,
    is_second_hand: bool = False,
    note: str = "",
) -> tuple[Published, ...]:
    """One row of the four sets' tables, in the order TGIF, MSVD, MSRVTT, ActivityNet."""
    return tuple(
        Published(
            system=system,
            family=family,
            questions=(tgif or f"{questions}; TGIF names several sets") if family == "tgif" else questions,
            visual_tokens=tokens,
            accuracy=accuracy,
            judge=judge,
            source=source,
            is_second_hand=is_second_hand,
            note=note,
        )
        for family, accuracy in zip(("tgif", "msvd", "msrvtt", "activitynet"), accuracies, strict=True)
    )


LITERATURE: tuple[Published, ...] = (
    *_row(
        "Video-LLaVA 7B",
        (70.0, 70.7, 59.2, 45.3),
        _VIDEO_LLAVA,
        questions=_AUTHORS,
        tokens="2,048",
        judge=_UNPINNED,
    ),
    *_row(
        "Video-LLaVA 7B, as VisionZip's baseline",
        (47.1, 69.8, 56.7, 43.1),
        _VISIONZIP,
        questions=_LIKE_VISIONZIP,
        tokens="2,048",
        is_second_hand=True,
    ),
    *_row(
        "FastV",
        (23.1, 38.0, 19.3, 30.6),
        _VISIONZIP,
        questions=_LIKE_VISIONZIP,
        is_second_hand=True,
        note=_CONTESTED,
    ),
    *_row(
        "SparseVLM",
        (44.7, 68.2, 31.0, 42.6),
        _VISIONZIP,
        questions=_LIKE_VISIONZIP,
        is_second_hand=True,
        note="contested by FasterVLM's rerun",
    ),
    *_row(
        "VisionZip",
        (42.4, 63.5, 52.1, 43.0),
        _VISIONZIP,
        questions=_LIKE_VISIONZIP,
        tokens="136",
        is_second_hand=True,
    ),
    *_row(
        "PruneSID",
        (45.8, 67.1, 53.3, 43.1),
        _PRUNESID,
        questions=_LIKE_VISIONZIP,
        tokens="6.6 %",
        is_second_hand=True,
    ),
    *_row(
        "Video-LLaVA 7B, as FasterVLM's baseline",
        (19.8, 70.5, 57.5, 43.6),
        _FASTERVLM,
        questions=_FIRST,
        tgif=_FIRST_TGIF,
        tokens="2,048",
    ),
    *_row("FasterVLM at 208", (15.6, 69.1, 55.3, 44.5), _FASTERVLM, questions=_FIRST, tgif=_FIRST_TGIF, tokens="208"),
    *_row("FasterVLM at 104", (14.0, 65.3, 53.8, 43.7), _FASTERVLM, questions=_FIRST, tgif=_FIRST_TGIF, tokens="104"),
)
"""What reports show beside runs of the same set's name."""

NOT_COMPARABLE = (
    "Other question sets, other judges, other copies of the videos: not comparable with the runs above, unless the same "
    "questions are asked and the same judge's version judges. The same predictions moved by 8 points from one version "
    "of a judge to another."
)


def published(set_name: str) -> tuple[Published, ...]:
    """Return what was published under a set's name; nothing for sets that have no published rows.

    Args:
        set_name: such as ``msvd`` or ``tgif-frameqa``.
    """
    return tuple(row for row in LITERATURE if row.family == set_name.split("-", maxsplit=1)[0])
