from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidzip import Budget, BudgetTooSmall, VideoInfo, plan, split_budget, token_split
from vidzip.errors import BadArgument
from vidzip.planner import Plan, merge_repeats, replan


def video(num_frames=300, fps=25.0, **fields) -> VideoInfo:
    fields = {"duration_seconds": num_frames / fps, "fps": fps, "num_frames": num_frames, **fields}
    return VideoInfo(path="some.mp4", identity="abc", **fields)


@pytest.mark.parametrize(
    ("k", "dominant", "contextual"),
    [
        (17, 14, 3),
        (16, 13, 3),
        (8, 7, 1),
        (4, 3, 1),
        (3, 3, 0),
        (2, 2, 0),
        (1, 1, 0),
        (0, 0, 0),
        (64, 54, 10),
        (128, 108, 20),
        (192, 162, 30),
    ],
)
def test_tokens_split_as_published(k, dominant, contextual):
    assert token_split(k) == (dominant, contextual)


def test_shares_by_hand():
    assert split_budget(136, 8) == (17,) * 8
    assert split_budget(136, 34) == (4,) * 34
    assert split_budget(10, 4) == (2, 3, 2, 3)
    assert split_budget(7, 7) == (1,) * 7


@given(st.integers(1, 3000), st.integers(1, 300))
def test_law_shares_spend_the_budget_evenly(total, frames):
    if frames > total:
        with pytest.raises(BudgetTooSmall, match=f"lower --frames to {total} or raise --budget to {frames}"):
            split_budget(total, frames)
        return
    shares = split_budget(total, frames)
    assert sum(shares) == total
    assert len(shares) == frames
    assert max(shares) - min(shares) <= 1
    assert shares[0] == total // frames


@given(
    total=st.integers(1, 2000),
    frames=st.none() | st.integers(1, 300),
    there=st.integers(1, 1000),
    fps=st.sampled_from([1.0, 7.7, 24000 / 1001, 25.0, 60.0]),
    most=st.integers(1, 300),
)
def test_law_the_budget_is_never_passed(total, frames, there, fps, most):
    if frames is not None and frames > total:
        with pytest.raises(BudgetTooSmall):
            plan(video(there, fps), Budget(total_tokens=total, num_frames=frames), most)
        return
    planned = plan(video(there, fps), Budget(total_tokens=total, num_frames=frames), most)
    assert sum(planned.tokens_per_frame) + planned.unused_tokens == total
    assert planned.unused_tokens >= 0
    assert all(1 <= k <= most for k in planned.tokens_per_frame)
    assert planned.num_frames == min(there, frames or min(34, total))
    assert list(planned.timestamps_seconds) == sorted(set(planned.timestamps_seconds))
    assert planned.unused_tokens == 0 or set(planned.tokens_per_frame) == {most}


def test_the_default_is_136_tokens_over_34_frames():
    planned = plan(video())
    assert planned.tokens_per_frame == (4,) * 34
    assert planned.warnings == ()
    assert plan(video(20)).num_frames == 20
    assert plan(video(), Budget(total_tokens=10)).tokens_per_frame == (1,) * 10


@pytest.mark.parametrize("frames", [1, 7, 8, 16, 17, 34, 68, 136])
def test_every_usual_frame_count_spends_136_tokens(frames):
    assert sum(plan(video(), Budget(num_frames=frames)).tokens_per_frame) == 136


def test_a_frame_takes_no_more_than_it_has():
    planned = plan(video(), Budget(total_tokens=1000, num_frames=2))
    assert planned.tokens_per_frame == (257, 257)
    assert planned.unused_tokens == 486


def test_fewer_distinct_frames_than_asked_for_are_all_used_with_a_warning():
    planned = plan(video(20), Budget(num_frames=34))
    assert planned.num_frames == 20
    assert planned.total_tokens == 136
    assert planned.warnings == ("the video has 20 distinct frames, fewer than the 34 asked for: all are used",)
    stretch = plan(video(300), Budget(num_frames=34), start=1, end=1.4)
    assert stretch.num_frames == 10
    assert "1 s to 1.4 s holds 10 distinct frames" in stretch.warnings[0]


def test_an_end_past_the_end_is_said():
    assert "ends at 12 s, before the end asked for, 20 s" in plan(video(300), end=20).warnings[0]


def test_warnings_about_the_file_reach_the_plan():
    assert plan(video(warnings=("it may be cut off",))).warnings == ("it may be cut off",)


@pytest.mark.parametrize("value", [0, -1, 1.5, "8", None])
def test_budgets_are_whole_numbers_of_one_or_more(value):
    with pytest.raises(BadArgument, match="1 or more"):
        Budget(total_tokens=value)
    if value is not None:
        with pytest.raises(BadArgument, match="1 or more"):
            Budget(num_frames=value)
    with pytest.raises(BadArgument, match="1 or more"):
        plan(video(), max_tokens_per_frame=value)


def test_a_negative_share_cannot_be_split():
    with pytest.raises(BadArgument, match="k is -1"):
        token_split(-1)


def test_a_plan_holds_its_own_promises():
    with pytest.raises(BadArgument, match="sum to 20, past the budget of 19"):
        Plan(video_identity=None, budget=Budget(total_tokens=19), timestamps_seconds=(0, 1), tokens_per_frame=(10, 10))
    for shares in ((), (-1,)):
        with pytest.raises(BadArgument, match="plan one frame or more"):
            Plan(video_identity=None, budget=Budget(), timestamps_seconds=shares, tokens_per_frame=shares)
    with pytest.raises(BadArgument, match="1 timestamps for 2"):
        Plan(video_identity=None, budget=Budget(), timestamps_seconds=(0,), tokens_per_frame=(10, 10))


def test_repeats_give_their_tokens_to_the_frame_that_stays():
    planned = plan(video(), Budget(total_tokens=17, num_frames=4))
    assert planned.tokens_per_frame == (4, 4, 4, 5)
    merged = merge_repeats(planned, [0.0, 1.0, 1.0, 2.0], 257)
    assert merged.tokens_per_frame == (4, 8, 5)
    assert merged.timestamps_seconds == planned.timestamps_seconds[:2] + planned.timestamps_seconds[3:]
    assert merged.warnings == ("the 4 moments show 3 distinct frames: each is used once",)
    assert merge_repeats(planned, [0.0, 0.0, 0.0, 0.0], 10).tokens_per_frame == (10,)
    assert merge_repeats(planned, [0.0, 1.0, 2.0, 3.0], 257) is planned


def test_the_same_input_gives_the_same_plan():
    assert plan(video(), Budget(num_frames=50)) == plan(video(), Budget(num_frames=50))


def test_the_planner_imports_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import vidzip.planner; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - {"vidzip"} <= set(sys.stdlib_module_names)


def test_errors_survive_another_process():
    with pytest.raises(BudgetTooSmall) as caught:
        split_budget(1, 2)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (type(copy), copy.message, copy.hint) == (BudgetTooSmall, caught.value.message, caught.value.hint)
    assert str(copy) == "1 tokens cannot hold 2 frames at 1 each; lower --frames to 1 or raise --budget to 2"


def test_frames_that_fill_no_whole_clip_are_rounded_up_and_said_so():
    planned = plan(video(), Budget(num_frames=34), frames_per_clip=8)
    assert (planned.num_frames, planned.num_repeats, planned.num_encoded_frames) == (34, 6, 40)
    assert planned.tokens_per_frame == (4,) * 34  # the repeats get none
    (note,) = planned.notes
    assert note == (
        "34 frames are encoded in clips of 8, 5 in all: the last one is repeated 6 times to fill its clip, "
        "and the repeats get no tokens"
    )
    whole = plan(video(), Budget(num_frames=16), frames_per_clip=8)
    assert (whole.num_repeats, whole.num_encoded_frames) == (0, 16)
    assert whole.notes == ("16 frames are encoded in clips of 8, 2 in all",)
    alone = plan(video(), Budget(num_frames=34))
    assert (alone.num_repeats, alone.notes) == (0, ())


@given(st.integers(1, 136), st.integers(1, 20))
def test_law_clips_change_neither_moments_nor_tokens(frames, clip):
    planned = plan(video(), Budget(num_frames=frames), frames_per_clip=clip)
    alone = plan(video(), Budget(num_frames=frames))
    assert planned.timestamps_seconds == alone.timestamps_seconds
    assert planned.tokens_per_frame == alone.tokens_per_frame
    assert planned.num_encoded_frames % clip == 0
    assert 0 <= planned.num_repeats < clip


def test_a_plan_made_anew_keeps_its_clips():
    planned = plan(video(), Budget(num_frames=34), frames_per_clip=8)
    remade = replan(planned, video(), 1.0, 257)
    assert remade.frames_per_clip == 8
    assert remade.num_frames == 25
    assert remade.num_repeats == 7
    with pytest.raises(BadArgument, match="frames_per_clip is 0"):
        plan(video(), frames_per_clip=0)
