from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from eval.datasets import SETS, Counts, Opened, Reading, Sample, check, list_videos, read, subset

MP4 = Opened(container="mov,mp4,m4a,3gp,3g2,mj2", duration_seconds=2.0)


def sample(key: str, video: str, question: str = "what?", answer: str = "dog") -> Sample:
    return Sample(id=key, video=video, question=question, answer=answer)


def reading(*samples: Sample, name: str | None = None, **more) -> Reading:
    return Reading(name=name, files=("test_q.json",), num_rows=len(samples), samples=samples, **more)


@pytest.fixture
def folder(tmp_path):
    def folder(*names: str):
        for name in names:
            (tmp_path / name).touch()
        return list_videos(tmp_path)

    return folder


def opens(_path: str) -> Opened:
    return MP4


def test_a_whole_set_is_ok(folder):
    report = check(
        reading(sample("1", "a"), sample("2", "b"), sample("3", "a", "who?")), folder("a.mp4", "b.mp4"), opens
    )
    assert report.ok
    assert report.held == Counts(questions=3, videos=2)
    assert (report.num_asked, report.num_videos, report.num_opened, report.num_lost) == (3, 2, 2, 0)
    assert report.duration_seconds == 4.0
    rest = dataclasses.asdict(report)
    assert [name for name, value in rest.items() if isinstance(value, tuple) and value] == []


def test_each_video_is_opened_once_and_counted_as_it_is(folder):
    opened: list[str] = []
    seen: list[tuple[int, int]] = []

    def open_video(path: str) -> Opened:
        opened.append(path)
        return MP4

    videos = folder("a.mp4", "b.mp4")
    samples = [sample(str(number), "ab"[number % 2]) for number in range(6)]
    check(reading(*samples), videos, open_video, on_opened=lambda *numbers: seen.append(numbers))
    assert opened == [videos.find("a"), videos.find("b")]
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_nothing_that_is_found_ends_the_check(folder):
    def open_video(path: str) -> Opened:
        if path.endswith("bad.mp4"):
            raise ValueError("no picture in it")
        if path.endswith("worse.mp4"):
            raise RuntimeError
        return MP4

    samples = [sample("1", "bad"), sample("2", "bad", "who?"), sample("3", "gone"), sample("4", "../bad"),
               sample("5", "worse"), sample("6", "good")]  # fmt: skip
    report = check(reading(*samples), folder("bad.mp4", "worse.mp4", "good.mp4"), open_video)
    assert not report.ok
    assert [(one.video, one.says, one.num_questions) for one in report.unreadable] == [
        ("bad", "no picture in it", 2), ("worse", "RuntimeError", 1),
    ]  # fmt: skip
    assert [one.video for one in report.missing] == ["gone", "../bad"]
    assert (report.num_lost, report.num_opened) == (5, 1)


def test_a_video_with_the_suffix_of_another_format_is_told_but_costs_nothing(folder):
    videos = folder("a.mp4", "b.gif", "c.mp4")
    gif = Opened(container="gif")
    report = check(
        reading(sample("1", "a"), sample("2", "b"), sample("3", "c")),
        videos,
        lambda path: Opened() if path.endswith("c.mp4") else gif,
    )
    assert [(one.video, one.says) for one in report.misnamed] == [("a", "its suffix promises mp4, its content is gif")]
    assert report.ok
    assert report.duration_seconds is None


def test_damage_several_files_and_unused_ones_are_told_but_cost_nothing(folder):
    videos = folder("a.mp4", "a.avi", "spare.mp4")
    report = check(reading(sample("1", "a")), videos, lambda _path: Opened(warnings=("it is cut off",)))
    assert [(one.video, one.says) for one in report.doubtful] == [("a", "it is cut off")]
    assert [one.says for one in report.in_several_files] == [
        f"{videos.paths['a'][0]} is taken, {videos.paths['a'][1]} left"
    ]
    assert [path.rpartition("/")[2] for path in report.unused] == ["spare.mp4"]
    assert report.ok


def test_questions_that_are_asked_again_are_counted_and_legal(folder):
    samples = [sample("1", "a"), sample("2", "a"), sample("3", "a", answer="man"), sample("4", "a", "who?"),
               sample("5", "b")]  # fmt: skip
    report = check(reading(*samples), folder("a.mp4", "b.mp4"), opens)
    assert (report.repeated, report.disputed, report.ok) == (1, 1, True)


@pytest.mark.parametrize(
    ("samples", "more", "found"),
    [
        ([sample("1", "a", answer=" ")], {}, {"unanswered": ("1",)}),
        ([sample("1", "a")], {"unanswered": ("2",)}, {"unanswered": ("2",)}),
        ([sample("1", "a")], {"unasked": ("3",)}, {"unasked": ("3",)}),
        ([sample("1", "a", "\t")], {}, {"blank": ("1",)}),
    ],
)
def test_questions_and_answers_that_lack_each_other_are_told(folder, samples, more, found):
    report = check(reading(*samples, **more), folder("a.mp4"), opens)
    assert not report.ok
    assert {
        name: getattr(report, name) for name in ("unanswered", "unasked", "blank") if getattr(report, name)
    } == found


def test_broken_rows_and_ids_that_stand_twice_are_told(write):
    rows = [{"question_id": key, "video_name": "a", "question": "what?"} for key in ("1", "1", "2")]
    root = write(test_q__json=[*rows, 7], test_a__json=[{"question_id": key, "answer": "dog"} for key in "12"])
    (root / "a.mp4").touch()
    report = check(read(root), list_videos(root), opens)
    assert [(fault.kind, fault.place) for fault in report.faults] == [("duplicate", "row 1"), ("broken", "row 3")]
    assert report.held == Counts(questions=4, videos=1)
    assert not report.ok


def test_counts_are_held_against_the_published_ones(folder):
    report = check(reading(sample("1", "a"), name="msvd"), folder("a.mp4"), opens)
    assert report.expected == SETS["msvd"].published
    assert (report.is_complete, report.ok, report.looks_like) == (False, False, None)
    size = SETS["msvd"].other_splits["validation"]
    samples = [sample(str(number), f"v{number % size.videos}") for number in range(size.questions)]
    assert check(reading(*samples, name="msvd"), folder(), opens).looks_like == "validation"


def test_a_set_that_says_its_own_size_is_held_against_that(folder):
    one = reading(sample("1", "a"), name="shapes")
    assert check(one, folder("a.mp4"), opens).ok
    for promised, ok in ((Counts(questions=1, videos=1), True), (Counts(questions=7, videos=1), False)):
        assert check(dataclasses.replace(one, promised=promised), folder(), opens).ok == ok


def test_of_a_subset_only_its_videos_are_opened(folder):
    all_of_it = reading(sample("1", "a"), sample("2", "gone"), sample("3", "b"))
    videos = folder("a.mp4", "b.mp4", "spare.mp4")
    report = check(all_of_it, videos, opens, samples=subset(all_of_it.samples, "first1"))
    assert report.ok
    assert (report.held.questions, report.num_asked, report.num_videos) == (3, 1, 1)
    assert [path.rpartition("/")[2] for path in report.unused] == ["spare.mp4"]


def test_law_videos_opened_at_a_time_are_told_as_one_by_one(folder):
    def open_video(path: str) -> Opened:
        if path.endswith("3.mp4"):
            raise ValueError(path)
        return Opened(duration_seconds=len(path))

    videos = folder(*(f"{number}.mp4" for number in range(0, 40, 2)), *(f"{number}.mp4" for number in range(1, 40, 6)))
    samples = reading(*(sample(str(number), str(number % 40)) for number in range(90)))
    with ThreadPoolExecutor(4) as pool:
        assert check(samples, videos, open_video, in_order=pool.map) == check(samples, videos, open_video)


def test_an_interruption_ends_it(folder):
    def interrupted(_path: str) -> Opened:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(reading(sample("1", "a")), folder("a.mp4"), interrupted)
