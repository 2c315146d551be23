from __future__ import annotations

import pytest

from pipelines.bench.settings import FILE, FULL, OURS, PUBLISHED, TOWER, WAYS, WHOLE, Case, Settings, read_words
from vidzip.errors import BadArgument, BudgetTooSmall


def settings(**changes):
    usual = {"size": "tiny", "ways": (FULL, OURS), "dtypes": ("float32",), "frames": (2, 4), "budgets": (20,)}
    return Settings(**{**usual, **changes})


def test_a_case_is_one_of_each_and_whole_frames_come_once():
    cases = list(settings(budgets=(10, 20)).cases({"float32": 16}))
    ours = [Case(way=OURS, dtype="float32", frames=frames, tokens=tokens) for frames in (2, 4) for tokens in (10, 20)]
    assert cases == [Case(way=FULL, dtype="float32", frames=8), *ours]
    both = settings(dtypes=("float32", "bfloat16"), videos=("a.mp4", "b.mp4"))
    several = list(both.cases({"float32": 16, "bfloat16": 16}))
    assert len(set(several)) == len(several) == 2 * 2 * 3
    assert list(settings(ways=(TOWER,)).cases({"float32": 1})) == [
        Case(way=TOWER, dtype="float32", frames=frames) for frames in (2, 4)
    ]


def test_the_published_way_is_run_once_where_all_frames_are_one_batch():
    def ways(*names):
        made = settings(ways=names, frames=(2, 4, 6)).cases({"float32": 4})
        return [(case.way, case.frames) for case in made if case.way == WHOLE]

    assert ways(PUBLISHED, WHOLE) == [(WHOLE, 6)]
    assert ways(WHOLE) == [(WHOLE, 2), (WHOLE, 4), (WHOLE, 6)]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"rounds": 0}, BadArgument, "0 rounds"),
        ({"batch": 0}, BadArgument, "0 frames at once"),
        ({"ways": ()}, BadArgument, "nothing is named in --ways"),
        ({"ways": ("magic",)}, BadArgument, "unknown 'magic'"),
        ({"ways": (FILE,)}, BadArgument, "needs a video"),
        ({"ways": (FILE,), "size": "l14", "videos": ("a.mp4",)}, BadArgument, "a model that is asked"),
        ({"frames": (2, 21)}, BudgetTooSmall, "20 tokens cannot hold 21 frames"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, error, says):
    with pytest.raises(error, match=says):
        settings(**changes)


def test_frames_that_are_not_compressed_need_no_tokens():
    assert len(list(settings(ways=(TOWER,), frames=(200,)).cases({"float32": 16}))) == 1


def test_words_come_apart_or_with_commas_and_count_once():
    assert read_words(("a,b", " c ,a", "")) == ("a", "b", "c")


def test_every_way_says_what_it_is():
    assert all(WAYS.values())
