"""A check of a question set and its videos that finds all problems before a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from eval.datasets.samples import DatasetError, ParsedSet, RowProblem, Sample
from eval.datasets.sets import SETS, Counts
from eval.datasets.videos import VideoFolder, expected_container


@dataclass(frozen=True, kw_only=True)
class OpenedVideo:
    """What is known of a video that was opened.

    Attributes:
        container: names of its format, joined by commas, such as ``matroska,webm``; None if unknown.
        duration_seconds: None if unknown.
        warnings: signs of damage.
    """

    container: str | None = None
    duration_seconds: float | None = None
    warnings: tuple[str, ...] = ()


OpenVideo = Callable[[str], OpenedVideo]
"""Opens the video at a path; raises an error of any type if that fails."""


OrderedMap = Callable[[Callable[[str], OpenedVideo | str], Sequence[str]], Iterable[OpenedVideo | str]]
"""Calls a function on every item and yields the results in order, as the builtin ``map`` does."""


@dataclass(frozen=True, kw_only=True)
class VideoProblem:
    """A problem of one video, with its file, if there is one, and the number of questions about it."""

    video: str
    path: str | None
    message: str
    num_questions: int


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The result of a check.

    Attributes:
        name: the set's name; None for an unpublished set.
        found: rows of questions in the files, including broken ones, and videos of the valid ones.
        expected: the numbers that there should be; None if unknown.
        looks_like: another split of the set with the numbers found; None if there is none.
        num_asked: questions that were checked: all valid ones, or those of a subset.
        num_videos: videos of these questions.
        num_opened: videos that could be opened.
        duration_seconds: of these videos in all; None if one is unknown.
        broken_rows: broken rows, and repeated ids.
        unanswered: ids of questions without an answer, or with an empty one.
        unasked: ids of answers without a question.
        blank: ids of empty questions.
        repeated: how often a question is asked again about the same video, with the same answer.
        conflicting: number of questions that are asked again about the same video, with another answer.
        missing: videos without a file.
        unreadable: videos whose file cannot be opened.
        misnamed: videos whose file has the suffix of another container; they can be opened.
        damaged: videos that can be opened, but may be damaged.
        ambiguous: videos with more than one file; the first is used.
        unused: files that are not about any question of the whole set.
    """

    name: str | None
    found: Counts
    expected: Counts | None
    looks_like: str | None
    num_asked: int
    num_videos: int
    num_opened: int
    duration_seconds: float | None
    broken_rows: tuple[RowProblem, ...]
    unanswered: tuple[str, ...]
    unasked: tuple[str, ...]
    blank: tuple[str, ...]
    repeated: int
    conflicting: int
    missing: tuple[VideoProblem, ...]
    unreadable: tuple[VideoProblem, ...]
    misnamed: tuple[VideoProblem, ...]
    damaged: tuple[VideoProblem, ...]
    ambiguous: tuple[VideoProblem, ...]
    unused: tuple[str, ...]

    @property
    def num_lost(self) -> int:
        """Questions whose video is missing or cannot be opened."""
        return sum(problem.num_questions for problem in (*self.missing, *self.unreadable))

    @property
    def is_complete(self) -> bool:
        """Whether there are as many questions and videos as expected, or nothing is expected."""
        return self.expected is None or self.found == self.expected

    @property
    def ok(self) -> bool:
        """Whether every question of the set is there, valid, and has its video."""
        problems = (self.broken_rows, self.unanswered, self.unasked, self.blank, self.missing, self.unreadable)
        return self.is_complete and not any(problems)


def check(
    parsed: ParsedSet,
    videos: VideoFolder,
    open_video: OpenVideo,
    *,
    samples: Sequence[Sample] | None = None,
    ordered_map: OrderedMap = map,
    on_opened: Callable[[int, int], None] = lambda _done, _total: None,
) -> CheckReport:
    """Find everything that would cost a question, without stopping at a problem.

    Args:
        parsed: the whole set.
        videos: the folder of its videos.
        open_video: opens the video at a path.
        samples: the samples that will be asked; all when None.
        ordered_map: calls a function on every item, for example in threads.
        on_opened: receives the number of videos that were tried, and of all videos.
    """
    asked = parsed.samples if samples is None else samples
    num_questions = Counter(sample.video for sample in asked)
    files: dict[str, str] = {}
    missing: list[VideoProblem] = []
    ambiguous: list[VideoProblem] = []

    def problem(video: str, message: str) -> VideoProblem:
        return VideoProblem(video=video, path=files.get(video), message=message, num_questions=num_questions[video])

    for video in num_questions:
        try:
            files[video], *others = videos.find_all(video)
        except DatasetError as error:
            missing.append(problem(video, str(error)))
            continue
        if others:
            ambiguous.append(problem(video, f"{files[video]} is used, {' and '.join(others)} ignored"))

    def attempt(path: str) -> OpenedVideo | str:
        try:
            return open_video(path)
        except Exception as error:
            return str(error) or type(error).__name__

    opened: dict[str, OpenedVideo] = {}
    unreadable: list[VideoProblem] = []
    on_opened(0, len(files))
    results = ordered_map(attempt, list(files.values()))
    for done, (video, result) in enumerate(zip(files, results, strict=True), start=1):
        if isinstance(result, str):
            unreadable.append(problem(video, result))
        else:
            opened[video] = result
        on_opened(done, len(files))
    durations = [one.duration_seconds for one in opened.values()]
    known = [duration for duration in durations if duration is not None]
    found = Counts(questions=parsed.num_rows, videos=len({sample.video for sample in parsed.samples}))
    splits = SETS[parsed.name].other_splits if parsed.name else {}
    repeated, conflicting = _count_repeats(parsed.samples)
    return CheckReport(
        name=parsed.name,
        found=found,
        expected=_expected(parsed),
        looks_like=next((name for name, size in splits.items() if size == found), None),
        num_asked=len(asked),
        num_videos=len(num_questions),
        num_opened=len(opened),
        duration_seconds=sum(known) if len(known) == len(durations) else None,
        broken_rows=parsed.problems,
        unanswered=(*parsed.unanswered, *(one.id for one in parsed.samples if not one.answer.strip())),
        unasked=parsed.unasked,
        blank=tuple(one.id for one in parsed.samples if not one.question.strip()),
        repeated=repeated,
        conflicting=conflicting,
        missing=tuple(missing),
        unreadable=tuple(unreadable),
        misnamed=tuple(
            problem(video, message) for video, one in opened.items() for message in _misnamed(files[video], one)
        ),
        damaged=tuple(problem(video, message) for video, one in opened.items() for message in one.warnings),
        ambiguous=tuple(ambiguous),
        unused=tuple(videos.unused(sample.video for sample in parsed.samples)),
    )


def _expected(parsed: ParsedSet) -> Counts | None:
    """The published size, or the declared one of a set that comes in many sizes."""
    if parsed.name is None:
        return None
    questions = SETS[parsed.name]
    return parsed.declared if questions.described_in else questions.published


def _count_repeats(samples: Iterable[Sample]) -> tuple[int, int]:
    """Count exact repetitions of questions, and questions with several answers."""
    answers: dict[tuple[str, str], Counter[str]] = {}
    for sample in samples:
        answers.setdefault((sample.video, sample.question), Counter())[sample.answer] += 1
    repeated = sum(count - 1 for given in answers.values() for count in given.values())
    return repeated, sum(len(given) > 1 for given in answers.values())


def _misnamed(path: str, opened: OpenedVideo) -> Iterator[str]:
    expected = expected_container(path, opened.container) if opened.container else None
    if expected is not None:
        yield f"has the suffix of {expected}, and the content of {opened.container}"
