"""The published question sets: their size, how their videos are named, and where their makers offer them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eval.datasets.rows import Counts


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where makers offer a part of their set.

    Attributes:
        what: what is offered there.
        where: addresses, or a command.
        terms: what its makers say about its use; ``see there`` where they say it only there.
    """

    what: str
    where: tuple[str, ...]
    terms: str = "see there"


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """What is known of a question set, by the name that belongs into every result.

    Attributes:
        name: in :data:`SETS`.
        title: for people.
        published: of the split that results are published on.
        other_splits: of the set's other splits, by name.
        described_in: a file beside the questions that says how many there are; None where the published counts hold.
        kinds: names of its kinds of questions, in the set's own order; empty where it has none.
        kind_codes: kinds by the code that the answers' file holds in ``type``.
        kind_of: from a question to its kind; None where the answers' file tells it.
        annotations: the files that hold it, a line a layout.
        video_names: what videos' names look like.
        prefixes: what files' names may begin with, before the video's own name; the usual one first.
        suffixes: what files' names may end with; the usual one first.
        questions: where its makers offer the questions.
        videos: where their makers offer the videos.
        notes: what to know before results are compared.
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
"""How each kind of TGIF-QA's questions is worded; what is worded otherwise is FrameQA. True of all 25,751."""

QUESTION_WORDS = ("what", "who", "how", "when", "where")


def tgif_kind(question: str) -> str:
    """Tell the kind of one of TGIF-QA's questions from its wording."""
    return next((kind for kind, form in _TGIF_FORMS.items() if form.match(question.strip())), "frameqa")


def question_word(question: str) -> str | None:
    """The word a question begins with, by which MSVD-QA's and MSRVTT-QA's makers tell kinds apart."""
    word = question.split(maxsplit=1)[0].lower() if question.strip() else ""
    return word if word in QUESTION_WORDS else None


_VIDEO_LLAVA = "https://github.com/PKU-YuanGroup/Video-LLaVA (TRAIN_AND_VALIDATE.md, data for validating: {folder})"
_AS_VIDEO_LLAVA = "test_q.json and test_a.json, as in Video-LLaVA's {folder}"
_TUMBLR = re.compile(r"tumblr_\w+", re.ASCII)
_TGIF_VIDEOS = (
    Source(
        what="the GIFs' addresses, in TGIF-Release",
        where=("https://github.com/raingo/TGIF-Release",),
        terms="approved non-commercial research purposes",
    ),
    Source(
        what="the GIFs, through TGIF-QA's links",
        where=("https://github.com/YunseokJANG/tgif-qa (dataset/README.md)",),
        terms="academic purposes only",
    ),
)


def _tgif(kind: str, published: Counts, kinds: tuple[str, ...], notes: tuple[str, ...] = ()) -> QuestionSet:
    title = {"frameqa": "FrameQA", "action": "Action", "transition": "Transition", "count": "Count"}[kind]
    return QuestionSet(
        name=f"tgif-{kind}",
        title=f"TGIF-QA {title}",
        published=published,
        kinds=kinds,
        kind_of=lambda _question: None if kind == "frameqa" else kind,
        annotations=(f"Test_{kind}_question.csv", "test_q.json and test_a.json, with this kind of question alone"),
        video_names=_TUMBLR,
        suffixes=(".gif", ".mp4"),
        questions=(
            Source(
                what="questions and answers",
                where=("https://github.com/YunseokJANG/tgif-qa (dataset/)",),
                terms="academic purposes only",
            ),
        ),
        videos=_TGIF_VIDEOS,
        notes=("'TGIF' names several sets; name the one that was asked in every result", *notes),
    )


_FROM_CHOICES = "asked without its five choices; the right choice's text is the answer, as in Video-LLaVA's file"
_MSR_QUESTIONS = Source(
    what="questions and answers, through the makers' links",
    where=("https://github.com/xudejing/video-question-answering (README.md)",),
)
_STEMMED = "answers were cut by a tool, such as 'gras' and 'wildernes'; they stay as they stand"

_ALL = (
    _tgif(
        "frameqa",
        Counts(questions=13_691, videos=7_132),
        ("object", "number", "color", "location"),
        ("Video-LLaVA's layout does not tell this set's kinds",),
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
                what="questions and answers",
                where=(_VIDEO_LLAVA.format(folder="TGIF_Zero_Shot_QA"),),
                terms="see there; TGIF-QA, from which they are, says academic purposes only",
            ),
        ),
        videos=(
            Source(what="the videos as MP4", where=(_VIDEO_LLAVA.format(folder="TGIF_Zero_Shot_QA"),)),
            *_TGIF_VIDEOS,
        ),
        notes=(
            "'TGIF' names several sets; name the one that was asked in every result",
            "its first 1,000 questions are of one kind, Action",
        ),
    ),
    QuestionSet(
        name="msvd",
        title="MSVD-QA",
        published=Counts(questions=13_157, videos=504),
        other_splits={"validation": Counts(questions=6_415, videos=245)},
        kinds=QUESTION_WORDS,
        kind_of=question_word,
        annotations=("test_qa.json, with youtube_mapping.txt", _AS_VIDEO_LLAVA.format(folder="MSVD_Zero_Shot_QA")),
        video_names=re.compile(r"[\w-]{11}_\d+_\d+|vid\d+", re.ASCII),
        suffixes=(".avi", ".mp4"),
        questions=(
            _MSR_QUESTIONS,
            Source(what="in Video-LLaVA's layout", where=(_VIDEO_LLAVA.format(folder="MSVD_Zero_Shot_QA"),)),
        ),
        videos=(Source(what="MSVD's clips", where=("http://www.cs.utexas.edu/users/ml/clamp/videoDescription",)),),
        notes=(
            "the same question may be asked of a video twice, with different answers",
            _STEMMED,
            "Video-ChatGPT reports the validation split, Video-LLaVA the test split",
        ),
    ),
    QuestionSet(
        name="msrvtt",
        title="MSRVTT-QA",
        published=Counts(questions=72_821, videos=2_990),
        other_splits={"validation": Counts(questions=12_278, videos=497)},
        kinds=QUESTION_WORDS,
        kind_of=question_word,
        annotations=("test_qa.json", _AS_VIDEO_LLAVA.format(folder="MSRVTT_Zero_Shot_QA")),
        video_names=re.compile(r"video\d{1,5}", re.ASCII),
        suffixes=(".mp4",),
        questions=(
            _MSR_QUESTIONS,
            Source(what="in Video-LLaVA's layout", where=(_VIDEO_LLAVA.format(folder="MSRVTT_Zero_Shot_QA"),)),
        ),
        videos=(
            Source(
                what="MSR-VTT's clips; people report that this page is often out of reach",
                where=("http://ms-multimedia-challenge.com/2016/dataset",),
            ),
        ),
        notes=(
            "the same question may be asked of a video twice, with different answers",
            _STEMMED,
            "Video-ChatGPT reports the validation split, Video-LLaVA the test split",
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
        kinds=(
            "motion",
            "spatial relationship",
            "temporal relationship",
            "yes/no",
            "color",
            "object",
            "location",
            "number",
            "other",
        ),
        kind_codes={
            "0": "motion",
            "1": "spatial relationship",
            "2": "temporal relationship",
            "3": "yes/no",
            "4": "color",
            "5": "object",
            "6": "location",
            "7": "number",
            "8": "other",
        },
        annotations=("test_q.json and test_a.json, the makers' own and Video-LLaVA's Activitynet_Zero_Shot_QA",),
        video_names=re.compile(r"[\w-]{11}", re.ASCII),
        prefixes=("v_", ""),
        suffixes=(".mp4", ".mkv", ".webm"),
        questions=(
            Source(
                what="questions and answers",
                where=("https://github.com/MILVLG/activitynet-qa (dataset/)",),
                terms="non-commercial use only, says README.md, which names the MIT licence; LICENSE is Apache-2.0",
            ),
        ),
        videos=(
            Source(what="ActivityNet 200, release 1.3", where=("http://activity-net.org/download.html",)),
            Source(
                what="the videos in Video-LLaVA's layout",
                where=(_VIDEO_LLAVA.format(folder="Activitynet_Zero_Shot_QA"),),
            ),
        ),
    ),
    QuestionSet(
        name="shapes",
        title="shapes, the synthetic set that vidzip writes",
        published=Counts(questions=1_540, videos=220),
        described_in="shapes.json",
        kinds=("colour", "shape", "count", "place", "direction", "order", "flash"),
        annotations=("test_q.json and test_a.json, beside shapes.json",),
        video_names=re.compile(r"(train|validation|test|long)_\d+_\d{5,}", re.ASCII),
        suffixes=(".mp4",),
        questions=(Source(what="questions and answers", where=("vidzip shapes OUT",), terms="Apache-2.0, as vidzip"),),
        videos=(
            Source(what="the videos, with the questions", where=("vidzip shapes OUT",), terms="Apache-2.0, as vidzip"),
        ),
        notes=("the published counts are the frozen test split's; shapes.json tells a folder's own",),
    ),
)

SETS: dict[str, QuestionSet] = {one.name: one for one in _ALL}


def recognise(rows: Sequence[tuple[str, str]]) -> str | None:
    """Tell which set videos and their questions are of; None where it is none of the published ones.

    Most videos' names must look like the set's. TGIF-QA's sets have the same videos: the questions' wording tells them
    apart.
    """
    videos = {video for video, _ in rows}
    for one in SETS.values():
        if sum(one.video_names.fullmatch(video) is not None for video in videos) * 2 > len(videos):
            if one.video_names is not _TUMBLR:
                return one.name
            kinds = {tgif_kind(question) for _, question in rows}
            return f"tgif-{kinds.pop()}" if len(kinds) == 1 else "tgif-mixture"
    return None
