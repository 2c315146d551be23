"""What is wrong with a question set and its videos, all of it, before any of them is worked on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from eval.datasets.rows import Counts, Fault, Reading
from eval.datasets.sample import DatasetError, Sample
from eval.datasets.sets import SETS
from eval.datasets.videos import VideoFolder, expected_container


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What is known of a video that was opened.

    Attributes:
        container: its format's names, joined by commas, such as ``matroska,webm``; None where nobody says.
        duration_seconds: None where it is unknown.
        warnings: what looks wrong with it, in words.
    """

    container: str | None = None
    duration_seconds: float | None = None
    warnings: tuple[str, ...] = ()


OpenVideo = Callable[[str], Opened]
"""Opens the video at a path; raises an error of any type where that cannot be done."""


InOrder = Callable[[Callable[[str], Opened | str], Sequence[str]], Iterable[Opened | str]]
"""Calls a function on every item and hands out the results in order, as the builtin ``map`` does."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What is wrong with one video.

    Attributes:
        video: its name.
        path: its file; None where there is none.
        says: what is wrong, in words.
        num_questions: how many are asked about it.
    """

    video: str
    path: str | None
    says: str
    num_questions: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found.

    Attributes:
        name: the set's; None for questions of no published set.
        held: what the files hold: rows of questions, whole or not, and videos of those that are whole.
        expected: how many there should be; None where nobody says.
        looks_like: another split of the set that has just so many questions and videos; None where none has.
        num_asked: questions that were checked: all whole ones, or those of a subset.
        num_videos: videos they are about.
        num_opened: videos of these that could be opened.
        duration_seconds: of those, all together; None where that of one is unknown.
        faults: broken rows, and ids that stand twice.
        unanswered: ids of questions without an answer, or with an empty one.
        unasked: ids of answers without a question.
        blank: ids of questions that are empty.
        repeated: how often the same question is asked of the same video again, with the same answer.
        disputed: how many questions are asked of the same video again, with another answer.
        missing: videos that have no file.
        unreadable: videos whose file cannot be opened.
        misnamed: videos whose file's suffix promises another container; they can be opened.
        doubtful: videos that can be opened, but look damaged.
        in_several_files: videos of which there is more than one file; the first was taken.
        unused: files that no question is about, of the whole set.
    """

    name: str | None
    held: Counts
    expected: Counts | None
    looks_like: str | None
    num_asked: int
    num_videos: int
    num_opened: int
    duration_seconds: float | None
    faults: tuple[Fault, ...]
    unanswered: tuple[str, ...]
    unasked: tuple[str, ...]
    blank: tuple[str, ...]
    repeated: int
    disputed: int
    missing: tuple[Trouble, ...]
    unreadable: tuple[Trouble, ...]
    misnamed: tuple[Trouble, ...]
    doubtful: tuple[Trouble, ...]
    in_several_files: tuple[Trouble, ...]
    unused: tuple[str, ...]

    @property
    def num_lost(self) -> int:
        """Questions among those asked whose video is missing or cannot be opened."""
        return sum(trouble.num_questions for trouble in (*self.missing, *self.unreadable))

    @property
    def is_complete(self) -> bool:
        """Whether there are as many questions and videos as there should be, as far as anybody says."""
        return self.expected is None or self.held == self.expected

    @property
    def ok(self) -> bool:
        """Whether every question of the set is there, whole, and can be asked."""
        broken = (self.faults, self.unanswered, self.unasked, self.blank, self.missing, self.unreadable)
        return self.is_complete and not any(broken)


def check(
    reading: Reading,
    videos: VideoFolder,
    open_video: OpenVideo,
    *,
    samples: Sequence[Sample] | None = None,
    in_order: InOrder = map,
    on_opened: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Look for everything that would cost a question; nothing that is found ends it.

    Args:
        reading: the whole set.
        videos: the folder in which its videos are looked for.
        open_video: really opens a video, whose path it is given.
        samples: those of the set that will be asked; all of them when None.
        in_order: calls a function on every item, in threads for instance.
        on_opened: called with the videos that were opened, or could not be, and with how many there are.
    """
    asked = reading.samples if samples is None else samples
    num_questions = Counter(sample.video for sample in asked)
    files: dict[str, str] = {}
    missing: list[Trouble] = []
    several: list[Trouble] = []

    def trouble(video: str, says: str) -> Trouble:
        return Trouble(video=video, path=files.get(video), says=says, num_questions=num_questions[video])

    for video in num_questions:
        try:
            files[video], *left = videos.find_all(video)
        except DatasetError as error:
            missing.append(trouble(video, str(error)))
            continue
        if left:
            several.append(trouble(video, f"{files[video]} is taken, {' and '.join(left)} left"))

    def attempt(path: str) -> Opened | str:
        try:
            return open_video(path)
        except Exception as error:
            return str(error) or type(error).__name__

    opened: dict[str, Opened] = {}
    unreadable: list[Trouble] = []
    on_opened(0, len(files))
    results = in_order(attempt, list(files.values()))
    for done, (video, seen) in enumerate(zip(files, results, strict=True), start=1):
        if isinstance(seen, str):
            unreadable.append(trouble(video, seen))
        else:
            opened[video] = seen
        on_opened(done, len(files))
    durations = [seen.duration_seconds for seen in opened.values()]
    known = [duration for duration in durations if duration is not None]
    held = Counts(questions=reading.num_rows, videos=len({sample.video for sample in reading.samples}))
    splits = SETS[reading.name].other_splits if reading.name else {}
    repeated, disputed = _asked_again(reading.samples)
    return Report(
        name=reading.name,
        held=held,
        expected=_expected(reading),
        looks_like=next((name for name, size in splits.items() if size == held), None),
        num_asked=len(asked),
        num_videos=len(num_questions),
        num_opened=len(opened),
        duration_seconds=sum(known) if len(known) == len(durations) else None,
        faults=reading.faults,
        unanswered=(*reading.unanswered, *(one.id for one in reading.samples if not one.answer.strip())),
        unasked=reading.unasked,
        blank=tuple(one.id for one in reading.samples if not one.question.strip()),
        repeated=repeated,
        disputed=disputed,
        missing=tuple(missing),
        unreadable=tuple(unreadable),
        misnamed=tuple(
            trouble(video, says) for video, seen in opened.items() for says in _misnamed(files[video], seen)
        ),
        doubtful=tuple(trouble(video, says) for video, seen in opened.items() for says in seen.warnings),
        in_several_files=tuple(several),
        unused=tuple(videos.unused(sample.video for sample in reading.samples)),
    )


def _expected(reading: Reading) -> Counts | None:
    """How many there should be: as published, or as a set that comes in many sizes says of itself."""
    if reading.name is None:
        return None
    questions = SETS[reading.name]
    return reading.promised if questions.described_in else questions.published


def _asked_again(samples: Iterable[Sample]) -> tuple[int, int]:
    """Count questions that stand there again word by word, and those that are answered in several ways."""
    answers: dict[tuple[str, str], Counter[str]] = {}
    for sample in samples:
        answers.setdefault((sample.video, sample.question), Counter())[sample.answer] += 1
    again = sum(count - 1 for told in answers.values() for count in told.values())
    return again, sum(len(told) > 1 for told in answers.values())


def _misnamed(path: str, seen: Opened) -> Iterator[str]:
    wanted = expected_container(path, seen.container) if seen.container else None
    if wanted is not None:
        yield f"its suffix promises {wanted}, its content is {seen.container}"
