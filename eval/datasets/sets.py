"""The published question sets: their sizes, the names of their videos, and where they are available."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of questions, and of videos that they are about."""

    questions: int
    videos: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a part of a set is available.

    Attributes:
        content: what is available.
        locations: URLs, or a command.
        terms: terms of use; ``see there`` if they are only stated at the location.
    """

    content: str
    locations: tuple[str, ...]
    terms: str = "see there"


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """A question set.

    Attributes:
        name: in :data:`SETS`; every result should state it.
        title: display name.
        published: size of the split on which results are published.
        other_splits: sizes of the other splits, by name.
        described_in: file next to the questions that states their number; None if the published size applies.
        kinds: names of the kinds of questions, in the set's own order; empty if it has none.
        kind_codes: kinds by their ``type`` in the answers' file.
        kind_of: maps a question to its kind; None if the answers' file states it.
        annotations: the annotation files, one text per layout.
        video_names: pattern of the videos' names.
        prefixes: possible prefixes of file names, the usual one first.
        suffixes: possible suffixes of file names, the usual one first.
        questions: where the questions are available.
        videos: where the videos are available.
        notes: what matters when results are compared.
    """

    name: str
    title: str
    published: Counts
    other_splits: Mapping[str, Counts] = field(default_factory=dict)
    described_in: str | None = None
    kinds: tuple[str, ...] = ()
    kind_codes: Mapping[str, str] = field(default_factory=dict)
    kind_of: Callable[[str], str | None] | None = None
    annotations: tuple[str, ...]
    video_names: re.Pattern[str]
    prefixes: tuple[str, ...] = ("",)
    suffixes: tuple[str, ...]
    questions: tuple[Source, ...]
    videos: tuple[Source, ...]
    notes: tuple[str, ...] = ()


_TGIF_FORMS = {
    "count": re.compile(r"how many times (do|does)\b", re.IGNORECASE),
    "action": re.compile(r"what (do|does)\b.+ (do|does) (10 or more than 10|\d+) times\b", re.IGNORECASE),
    "transition": re.compile(r"what (do|does)\b.+ (do|does) (before|after)", re.IGNORECASE),
}
"""Wording of TGIF-QA's kinds of questions; all others are FrameQA. Correct for all 25,751 questions."""

QUESTION_WORDS = ("what", "who", "how", "when", "where")


def tgif_kind(question: str) -> str:
    """Recognise the kind of one of TGIF-QA's questions by its wording."""
    return next((kind for kind, form in _TGIF_FORMS.items() if form.match(question.strip())), "frameqa")


def question_word(question: str) -> str | None:
    """The first word of a question, which is its kind in MSVD-QA and MSRVTT-QA; None for other words."""
    word = question.split(maxsplit=1)[0].lower() if question.strip() else ""
    return word if word in QUESTION_WORDS else None


_VIDEO_LLAVA = "https://github.com/PKU-YuanGroup/Video-LLaVA (TRAIN_AND_VALIDATE.md, data for validating: {folder})"
_AS_VIDEO_LLAVA = "test_q.json and test_a.json, as in Video-LLaVA's {folder}"
_TUMBLR = re.compile(r"tumblr_\w+", re.ASCII)
_TGIF_VIDEOS = (
    Source(
        content="the GIFs' addresses, in TGIF-Release",
        locations=("https://github.com/raingo/TGIF-Release",),
        terms="approved non-commercial research purposes",
    ),
    Source(
        content="the GIFs, through TGIF-QA's links",
        locations=("https://github.com/YunseokJANG/tgif-qa (dataset/README.md)",),
        terms="academic purposes only",
    ),
)


def _tgif(kind: str, published: Counts, kinds: tuple[str, ...], notes: tuple[str, ...] = ()) -> QuestionSet:
    title = "FrameQA" if kind == "frameqa" else kind.capitalize()
    return QuestionSet(
        name=f"tgif-{kind}",
        title=f"TGIF-QA {title}",
        published=published,
        kinds=kinds,
        kind_of=lambda _question: None if kind == "frameqa" else kind,
        annotations=(f"Test_{kind}_question.csv", "test_q.json and test_a.json, with this kind of question only"),
        video_names=_TUMBLR,
        suffixes=(".gif", ".mp4"),
        questions=(
            Source(
                content="questions and answers",
                locations=("https://github.com/YunseokJANG/tgif-qa (dataset/)",),
                terms="academic purposes only",
            ),
        ),
        videos=_TGIF_VIDEOS,
        notes=("'TGIF' may mean several sets; state the one that was asked with every result", *notes),
    )


_FROM_CHOICES = "asked without its five choices; the right choice's text is the answer, as in Video-LLaVA's file"


def _msr(
    name: str,
    published: Counts,
    validation: Counts,
    *,
    annotations: str,
    video_names: str,
    suffixes: tuple[str, ...],
    videos: Source,
) -> QuestionSet:
    folder = f"{name}_Zero_Shot_QA"
    return QuestionSet(
        name=name.lower(),
        title=f"{name}-QA",
        published=published,
        other_splits={"validation": validation},
        kinds=QUESTION_WORDS,
        kind_of=question_word,
        annotations=(annotations, _AS_VIDEO_LLAVA.format(folder=folder)),
        video_names=re.compile(video_names, re.ASCII),
        suffixes=suffixes,
        questions=(
            Source(
                content="questions and answers, through the authors' links",
                locations=("https://github.com/xudejing/video-question-answering (README.md)",),
            ),
            Source(content="in Video-LLaVA's layout", locations=(_VIDEO_LLAVA.format(folder=folder),)),
        ),
        videos=(videos,),
        notes=(
            "the same question may be asked of a video twice, with different answers",
            "answers were stemmed by a tool, such as 'gras' and 'wildernes'; they are kept as they are",
            "Video-ChatGPT reports the validation split, Video-LLaVA the test split",
        ),
    )


_ACTIVITYNET_KINDS = (
    *("motion", "spatial relationship", "temporal relationship", "yes/no", "color"),
    *("object", "location", "number", "other"),
)

_ALL = (
    _tgif(
        "frameqa",
        Counts(questions=13_691, videos=7_132),
        ("object", "number", "color", "location"),
        ("Video-LLaVA's layout does not state this set's kinds",),
    ),
    _tgif("action", Counts(questions=2_274, videos=2_274), ("action",), (_FROM_CHOICES,)),
    _tgif("transition", Counts(questions=6_232, videos=3_116), ("transition",), (_FROM_CHOICES,)),
    _tgif("count", Counts(questions=3_554, videos=3_554), ("count",), ("answers are 0 and 2 to 10, in digits",)),
    QuestionSet(
        name="tgif-mixture",
        title="Video-LLaVA's mixture of TGIF-QA's four kinds",
        published=Counts(questions=25_751, videos=9_575),
        kinds=("action", "count", "frameqa", "transition"),
        kind_of=tgif_kind,
        annotations=(_AS_VIDEO_LLAVA.format(folder="TGIF_Zero_Shot_QA"),),
        video_names=_TUMBLR,
        suffixes=(".mp4", ".gif"),
        questions=(
            Source(
                content="questions and answers",
                locations=(_VIDEO_LLAVA.format(folder="TGIF_Zero_Shot_QA"),),
                terms="see there; their source TGIF-QA says academic purposes only",
            ),
        ),
        videos=(
            Source(content="the videos as MP4", locations=(_VIDEO_LLAVA.format(folder="TGIF_Zero_Shot_QA"),)),
            *_TGIF_VIDEOS,
        ),
        notes=(
            "'TGIF' may mean several sets; state the one that was asked with every result",
            "its first 1,000 questions are of one kind, Action",
        ),
    ),
    _msr(
        "MSVD",
        Counts(questions=13_157, videos=504),
        Counts(questions=6_415, videos=245),
        annotations="test_qa.json, with youtube_mapping.txt",
        video_names=r"[\w-]{11}_\d+_\d+|vid\d+",
        suffixes=(".avi", ".mp4"),
        videos=Source(content="MSVD's clips", locations=("http://www.cs.utexas.edu/users/ml/clamp/videoDescription",)),
    ),
    _msr(
        "MSRVTT",
        Counts(questions=72_821, videos=2_990),
        Counts(questions=12_278, videos=497),
        annotations="test_qa.json",
        video_names=r"video\d{1,5}",
        suffixes=(".mp4",),
        videos=Source(
            content="MSR-VTT's clips; this page is often reported to be unavailable",
            locations=("http://ms-multimedia-challenge.com/2016/dataset",),
        ),
    ),
    QuestionSet(
        name="activitynet",
        title="ActivityNet-QA",
        published=Counts(questions=8_000, videos=800),
        other_splits={
            "validation": Counts(questions=18_000, videos=1_800),
            "train": Counts(questions=32_000, videos=3_200),
        },
        kinds=_ACTIVITYNET_KINDS,
        kind_codes={str(code): kind for code, kind in enumerate(_ACTIVITYNET_KINDS)},
        annotations=("test_q.json and test_a.json, the authors' own and Video-LLaVA's Activitynet_Zero_Shot_QA",),
        video_names=re.compile(r"[\w-]{11}", re.ASCII),
        prefixes=("v_", ""),
        suffixes=(".mp4", ".mkv", ".webm"),
        questions=(
            Source(
                content="questions and answers",
                locations=("https://github.com/MILVLG/activitynet-qa (dataset/)",),
                terms="non-commercial use only, says README.md, which names the MIT licence; LICENSE is Apache-2.0",
            ),
        ),
        videos=(
            Source(content="ActivityNet 200, release 1.3", locations=("http://activity-net.org/download.html",)),
            Source(
                content="the videos in Video-LLaVA's layout",
                locations=(_VIDEO_LLAVA.format(folder="Activitynet_Zero_Shot_QA"),),
            ),
        ),
    ),
    QuestionSet(
        name="shapes",
        title="shapes, the synthetic set that vidzip writes",
        published=Counts(questions=1_540, videos=220),
        described_in="shapes.json",
        kinds=("colour", "shape", "count", "place", "direction", "order", "flash"),
        annotations=("test_q.json and test_a.json, next to shapes.json",),
        video_names=re.compile(r"(train|validation|test|long)_\d+_\d{5,}", re.ASCII),
        suffixes=(".mp4",),
        questions=(
            Source(content="questions and answers", locations=("vidzip shapes OUT",), terms="Apache-2.0, as vidzip"),
        ),
        videos=(
            Source(
                content="the videos, with the questions",
                locations=("vidzip shapes OUT",),
                terms="Apache-2.0, as vidzip",
            ),
        ),
        notes=("the published size is that of the frozen test split; shapes.json states a folder's own",),
    ),
)

SETS: dict[str, QuestionSet] = {one.name: one for one in _ALL}


def recognise(rows: Sequence[tuple[str, str]]) -> str | None:
    """Recognise the published set of some pairs of video name and question; None if it is none of them.

    Most of the videos' names must match the set's pattern. TGIF-QA's sets have the same videos, and are recognised by
    the questions' wording.
    """
    videos = {video for video, _ in rows}
    for one in SETS.values():
        if sum(one.video_names.fullmatch(video) is not None for video in videos) * 2 > len(videos):
            if one.video_names is not _TUMBLR:
                return one.name
            kinds = {tgif_kind(question) for _, question in rows}
            return f"tgif-{kinds.pop()}" if len(kinds) == 1 else "tgif-mixture"
    return None
