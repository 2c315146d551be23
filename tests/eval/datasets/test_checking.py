from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from eval.datasets import SETS, Counts, OpenedVideo, ParsedSet, Sample, check, list_videos, parse, subset

MP4 = OpenedVideo(container="mov,mp4,m4a,3gp,3g2,mj2", duration_seconds=2.0)


def sample(key: str, video: str, question: str = "what?", answer: str = "dog") -> Sample:
    return Sample(id=key, video=video, question=question, answer=answer)


def parsed_set(*samples: Sample, name: str | None = None, **more) -> ParsedSet:
    return ParsedSet(name=name, files=("test_q.json",), num_rows=len(samples), samples=samples, **more)


@pytest.fixture
def folder(tmp_path):
    def folder(*names: str):
        for name in names:
            (tmp_path / name).touch()
        return list_videos(tmp_path)

    return folder


def opens(_path: str) -> OpenedVideo:
    return MP4


def test_a_whole_set_is_ok(folder):
    report = check(
        parsed_set(sample("1", "a"), sample("2", "b"), sample("3", "a", "who?")), folder("a.mp4", "b.mp4"), opens
    )
    assert report.ok
    assert report.found == Counts(questions=3, videos=2)
    assert (report.num_asked, report.num_videos, report.num_opened, report.num_lost) == (3, 2, 2, 0)
    assert report.duration_seconds == 4.0
    rest = dataclasses.asdict(report)
    assert [name for name, value in rest.items() if isinstance(value, tuple) and value] == []


def test_each_video_is_opened_once_and_progress_counts_them(folder):
    opened: list[str] = []
    seen: list[tuple[int, int]] = []

    def open_video(path: str) -> OpenedVideo:
        opened.append(path)
        return MP4

    videos = folder("a.mp4", "b.mp4")
    samples = [sample(str(number), "ab"[number % 2]) for number in range(6)]
    check(parsed_set(*samples), videos, open_video, on_opened=lambda *numbers: seen.append(numbers))
    assert opened == [videos.find("a"), videos.find("b")]
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_no_problem_stops_the_check(folder):
    def open_video(path: str) -> OpenedVideo:
        if path.endswith("bad.mp4"):
            raise ValueError("no picture in it")
        if path.endswith("worse.mp4"):
            raise RuntimeError
        return MP4

    samples = [sample("1", "bad"), sample("2", "bad", "who?"), sample("3", "gone"), sample("4", "../bad"),
               sample("5", "worse"), sample("6", "good")]  # fmt: skip
    report = check(parsed_set(*samples), folder("bad.mp4", "worse.mp4", "good.mp4"), open_video)
    assert not report.ok
    assert [(one.video, one.message, one.num_questions) for one in report.unreadable] == [
        ("bad", "no picture in it", 2), ("worse", "RuntimeError", 1),
    ]  # fmt: skip
    assert [one.video for one in report.missing] == ["gone", "../bad"]
    assert (report.num_lost, report.num_opened) == (5, 1)


def test_a_video_with_the_suffix_of_another_format_costs_nothing(folder):
    videos = folder("a.mp4", "b.gif", "c.mp4")
    gif = OpenedVideo(container="gif")
    report = check(
        parsed_set(sample("1", "a"), sample("2", "b"), sample("3", "c")),
        videos,
        lambda path: OpenedVideo() if path.endswith("c.mp4") else gif,
    )
    assert [(one.video, one.message) for one in report.misnamed] == [
        ("a", "has the suffix of mp4, and the content of gif")
    ]
    assert report.ok
    assert report.duration_seconds is None


def test_damage_several_files_and_unused_files_cost_nothing(folder):
    videos = folder("a.mp4", "a.avi", "spare.mp4")
    report = check(parsed_set(sample("1", "a")), videos, lambda _path: OpenedVideo(warnings=("it is cut off",)))
    assert [(one.video, one.message) for one in report.damaged] == [("a", "it is cut off")]
    assert [one.message for one in report.ambiguous] == [
        f"{videos.paths['a'][0]} is used, {videos.paths['a'][1]} ignored"
    ]
    assert [path.rpartition("/")[2] for path in report.unused] == ["spare.mp4"]
    assert report.ok


def test_repeated_questions_are_counted_and_allowed(folder):
    samples = [sample("1", "a"), sample("2", "a"), sample("3", "a", answer="man"), sample("4", "a", "who?"),
               sample("5", "b")]  # fmt: skip
    report = check(parsed_set(*samples), folder("a.mp4", "b.mp4"), opens)
    assert (report.repeated, report.conflicting, report.ok) == (1, 1, True)


@pytest.mark.parametrize(
    ("samples", "more", "found"),
    [
        ([sample("1", "a", answer=" ")], {}, {"unanswered": ("1",)}),
        ([sample("1", "a")], {"unanswered": ("2",)}, {"unanswered": ("2",)}),
        ([sample("1", "a")], {"unasked": ("3",)}, {"unasked": ("3",)}),
        ([sample("1", "a", "\t")], {}, {"blank": ("1",)}),
    ],
)
def test_unmatched_and_empty_questions_and_answers_are_reported(folder, samples, more, found):
    report = check(parsed_set(*samples, **more), folder("a.mp4"), opens)
    assert not report.ok
    assert {
        name: getattr(report, name) for name in ("unanswered", "unasked", "blank") if getattr(report, name)
    } == found


def test_broken_rows_and_repeated_ids_are_reported(write):
    rows = [{"question_id": key, "video_name": "a", "question": "what?"} for key in ("1", "1", "2")]
    root = write(test_q__json=[*rows, 7], test_a__json=[{"question_id": key, "answer": "dog"} for key in "12"])
    (root / "a.mp4").touch()
    report = check(parse(root), list_videos(root), opens)
    assert [(one.kind, one.place) for one in report.broken_rows] == [("duplicate", "row 1"), ("broken", "row 3")]
    assert report.found == Counts(questions=4, videos=1)
    assert not report.ok


def test_counts_are_compared_with_the_published_ones(folder):
    report = check(parsed_set(sample("1", "a"), name="msvd"), folder("a.mp4"), opens)
    assert report.expected == SETS["msvd"].published
    assert (report.is_complete, report.ok, report.looks_like) == (False, False, None)
    size = SETS["msvd"].other_splits["validation"]
    samples = [sample(str(number), f"v{number % size.videos}") for number in range(size.questions)]
    assert check(parsed_set(*samples, name="msvd"), folder(), opens).looks_like == "validation"


def test_counts_are_compared_with_the_declared_ones(folder):
    one = parsed_set(sample("1", "a"), name="shapes")
    assert check(one, folder("a.mp4"), opens).ok
    for declared, ok in ((Counts(questions=1, videos=1), True), (Counts(questions=7, videos=1), False)):
        assert check(dataclasses.replace(one, declared=declared), folder(), opens).ok == ok


def test_only_a_subsets_videos_are_opened(folder):
    whole = parsed_set(sample("1", "a"), sample("2", "gone"), sample("3", "b"))
    videos = folder("a.mp4", "b.mp4", "spare.mp4")
    report = check(whole, videos, opens, samples=subset(whole.samples, "first1"))
    assert report.ok
    assert (report.found.questions, report.num_asked, report.num_videos) == (3, 1, 1)
    assert [path.rpartition("/")[2] for path in report.unused] == ["spare.mp4"]


def test_law_the_result_does_not_depend_on_threads(folder):
    def open_video(path: str) -> OpenedVideo:
        if path.endswith("3.mp4"):
            raise ValueError(path)
        return OpenedVideo(duration_seconds=len(path))

    videos = folder(*(f"{number}.mp4" for number in range(0, 40, 2)), *(f"{number}.mp4" for number in range(1, 40, 6)))
    samples = parsed_set(*(sample(str(number), str(number % 40)) for number in range(90)))
    with ThreadPoolExecutor(4) as pool:
        assert check(samples, videos, open_video, ordered_map=pool.map) == check(samples, videos, open_video)


def test_an_interruption_ends_it(folder):
    def interrupted(_path: str) -> OpenedVideo:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(parsed_set(sample("1", "a")), folder("a.mp4"), interrupted)
