from __future__ import annotations

import dataclasses
import math
import pickle
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import video

from vidzip import Budget, BudgetTooSmall, plan, split_budget, token_split
from vidzip.errors import BadArgument, BudgetInfeasible
from vidzip.planner import (
    NOT_CALIBRATED,
    VIDEO_LLAVA_7B,
    Plan,
    Planner,
    check_request,
    default_costs,
    drop_repeated_frames,
    measured_accuracy,
    plan_with_report,
    replan_on_truncation,
)
from vidzip.planner.costs import Workload, video_stats
from vidzip.video.info import truncate_info


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


def test_split_budget_by_hand():
    assert split_budget(136, 8) == (17,) * 8
    assert split_budget(136, 34) == (4,) * 34
    assert split_budget(10, 4) == (2, 3, 2, 3)
    assert split_budget(7, 7) == (1,) * 7


@given(st.integers(1, 3000), st.integers(1, 300))
def test_law_split_budget_spends_all_of_it_evenly(total, frames):
    if frames > total:
        with pytest.raises(BudgetTooSmall, match=f"--frames to {total} .*--budget to {frames}"):
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
    available=st.integers(1, 1000),
    fps=st.sampled_from([1.0, 7.7, 24000 / 1001, 25.0, 60.0]),
    most=st.integers(1, 300),
)
def test_law_the_budget_is_never_exceeded(total, frames, available, fps, most):
    if frames is not None and frames > total:
        with pytest.raises(BudgetTooSmall):
            plan(video(available, fps), Budget(total_tokens=total, num_frames=frames), most)
        return
    planned = plan(video(available, fps), Budget(total_tokens=total, num_frames=frames), most)
    assert sum(planned.tokens_per_frame) + planned.unused_tokens == total
    assert planned.unused_tokens >= 0
    assert all(1 <= k <= most for k in planned.tokens_per_frame)
    assert frames is None or planned.num_frames == min(available, frames)
    assert list(planned.timestamps_seconds) == sorted(set(planned.timestamps_seconds))
    assert planned.unused_tokens == 0 or set(planned.tokens_per_frame) == {most}


@given(st.integers(1, 1000), st.sampled_from([1.0, 24000 / 1001, 60.0]), st.integers(17, 300))
def test_law_136_tokens_go_to_34_frames_or_to_all(available, fps, most):
    planned = plan(video(available, fps), max_tokens_per_frame=most)
    assert planned.num_frames == min(available, 34)
    assert planned.total_tokens == min(136, available * most)


def test_the_default_is_136_tokens_over_34_frames():
    planned = plan(video())
    assert planned.tokens_per_frame == (4,) * 34
    assert planned.warnings == ()
    assert plan(video(20)).num_frames == 20
    assert plan(video(), Budget(total_tokens=10)).tokens_per_frame == (1,) * 10


@pytest.mark.parametrize("frames", [1, 7, 8, 16, 17, 34, 68, 136])
def test_every_usual_frame_count_spends_136_tokens(frames):
    assert sum(plan(video(), Budget(num_frames=frames)).tokens_per_frame) == 136


def test_a_frame_gets_at_most_all_of_its_tokens():
    planned = plan(video(), Budget(total_tokens=1000, num_frames=2))
    assert planned.tokens_per_frame == (257, 257)
    assert planned.unused_tokens == 486


def test_fewer_distinct_frames_than_requested_are_all_used_with_a_warning():
    planned = plan(video(20), Budget(num_frames=34))
    assert planned.num_frames == 20
    assert planned.total_tokens == 136
    (warning,) = planned.warnings
    assert "the video has 20 distinct frames, fewer than the 34" in warning
    stretch = plan(video(300), Budget(num_frames=34), start=1, end=1.4)
    assert stretch.num_frames == 10
    assert "1 s to 1.4 s has 10 distinct frames" in stretch.warnings[0]


def test_an_end_after_the_videos_end_is_a_warning():
    assert re.search(r"12 s.* 20 s", plan(video(300), end=20).warnings[0])


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


def test_a_negative_count_cannot_be_split():
    with pytest.raises(BadArgument, match="k is -1"):
        token_split(-1)


def test_an_invalid_plan_is_refused():
    with pytest.raises(BadArgument, match=r"sum to 20, .* 19"):
        Plan(video_identity=None, budget=Budget(total_tokens=19), timestamps_seconds=(0, 1), tokens_per_frame=(10, 10))
    for shares in ((), (-1,)):
        with pytest.raises(BadArgument, match="tokens are"):
            Plan(video_identity=None, budget=Budget(), timestamps_seconds=shares, tokens_per_frame=shares)
    with pytest.raises(BadArgument, match="1 timestamps for 2"):
        Plan(video_identity=None, budget=Budget(), timestamps_seconds=(0,), tokens_per_frame=(10, 10))


def test_a_request_is_checked_without_a_choice(monkeypatch):
    monkeypatch.setattr(Planner, "choice", None)
    check_request(video(), Budget())
    with pytest.raises(BudgetTooSmall):
        check_request(video(), Budget(total_tokens=10, num_frames=11))
    with pytest.raises(BudgetTooSmall):
        check_request(video(), Budget(total_tokens=10, min_tokens_per_frame=11))
    for start, end in ((13, None), (2, 1), (-1, None)):
        with pytest.raises(BadArgument):
            check_request(video(), Budget(), start, end)


def test_repeated_frames_give_their_tokens_to_the_first():
    planned = plan(video(), Budget(total_tokens=17, num_frames=4))
    assert planned.tokens_per_frame == (4, 4, 4, 5)
    merged = drop_repeated_frames(planned, [0.0, 1.0, 1.0, 2.0], 257)
    assert merged.tokens_per_frame == (4, 8, 5)
    assert merged.timestamps_seconds == planned.timestamps_seconds[:2] + planned.timestamps_seconds[3:]
    (warning,) = merged.warnings
    assert re.search(r"the 4 .* 3 distinct frames", warning)
    assert drop_repeated_frames(planned, [0.0, 0.0, 0.0, 0.0], 10).tokens_per_frame == (10,)
    assert drop_repeated_frames(planned, [0.0, 1.0, 2.0, 3.0], 257) is planned


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


def test_an_incomplete_clip_is_filled_by_repeats():
    planned = plan(video(), Budget(num_frames=34), frames_per_clip=8)
    assert (planned.num_frames, planned.num_repeats, planned.num_encoded_frames) == (34, 6, 40)
    assert planned.tokens_per_frame == (4,) * 34  # the repeats get none
    (note,) = planned.notes
    assert re.search(r"34 frames .* clips of 8, 5 .* 6 times", note)
    whole = plan(video(), Budget(num_frames=16), frames_per_clip=8)
    assert (whole.num_repeats, whole.num_encoded_frames) == (0, 16)
    (note,) = whole.notes
    assert re.search(r"16 frames .* clips of 8, 2", note)
    alone = plan(video(), Budget(num_frames=34))
    assert (alone.num_repeats, alone.notes) == (0, ())


@given(st.integers(1, 136), st.integers(1, 20))
def test_law_clips_change_neither_timestamps_nor_tokens(frames, clip):
    planned = plan(video(), Budget(num_frames=frames), frames_per_clip=clip)
    alone = plan(video(), Budget(num_frames=frames))
    assert planned.timestamps_seconds == alone.timestamps_seconds
    assert planned.tokens_per_frame == alone.tokens_per_frame
    assert planned.num_encoded_frames % clip == 0
    assert 0 <= planned.num_repeats < clip


def test_replanning_on_truncation_keeps_clips():
    planned = plan(video(), Budget(num_frames=34), frames_per_clip=8)
    replanned = replan_on_truncation(planned, video(), 1.0, 257)
    assert replanned.frames_per_clip == 8
    assert replanned.num_frames == 25
    assert replanned.num_repeats == 7
    with pytest.raises(BadArgument, match="frames_per_clip is 0"):
        plan(video(), frames_per_clip=0)


# Limits on latency and memory, and preferences.

COSTS = default_costs(VIDEO_LLAVA_7B, "cuda")
GB = 10**9

latencies = st.none() | st.floats(0.3, 20)
memories = st.none() | st.floats(14.7e9, 15.5e9)
budgets = st.builds(
    Budget,
    total_tokens=st.integers(1, 600),
    max_latency_seconds=latencies,
    max_memory_bytes=memories,
    prefer=st.sampled_from(["balanced", "coverage", "detail"]),
)
videos = st.builds(video, num_frames=st.integers(1, 5000), fps=st.sampled_from([1.0, 25.0]))


@given(videos, budgets, st.sampled_from([1, 8]), st.sampled_from(["visionzip", "coverage", "pool"]))
def test_law_no_limit_is_ever_exceeded(info, budget, clip, method):
    try:
        report = plan_with_report(info, budget, frames_per_clip=clip, costs=COSTS, method=method)
    except BudgetInfeasible:
        assert budget.max_latency_seconds is not None or budget.max_memory_bytes is not None
        return
    planned = report.plan
    assert planned.total_tokens <= budget.total_tokens
    assert min(planned.tokens_per_frame) >= budget.min_tokens_per_frame
    assert max(planned.tokens_per_frame) - min(planned.tokens_per_frame) <= 1
    assert report.costs.seconds <= (budget.max_latency_seconds or math.inf)
    assert report.costs.peak_bytes <= (budget.max_memory_bytes or math.inf)


@given(videos, budgets)
def test_law_the_same_inputs_give_the_same_plan(info, budget):
    def outcome():
        try:
            return plan_with_report(info, budget, costs=COSTS)
        except BudgetInfeasible as error:
            return str(error)

    assert outcome() == outcome()


@given(videos, st.integers(1, 600), st.sampled_from(["balanced", "coverage", "detail"]))
def test_law_limits_that_no_plan_exceeds_change_nothing(info, total, prefer):
    free = plan_with_report(info, Budget(total_tokens=total, prefer=prefer))
    limited = plan_with_report(
        info, Budget(total_tokens=total, prefer=prefer, max_latency_seconds=1e9, max_memory_bytes=1e18)
    )
    assert limited.plan.timestamps_seconds == free.plan.timestamps_seconds
    assert limited.plan.tokens_per_frame == free.plan.tokens_per_frame
    assert (limited.binding_constraints, free.costs) == (free.binding_constraints, None)
    assert limited.costs is not None


@given(videos, budgets, st.integers(1, 300))
def test_law_requested_frames_are_kept_or_refused(info, budget, frames):
    budget = dataclasses.replace(budget, num_frames=frames)
    try:
        report = plan_with_report(info, budget, costs=COSTS)
    except (BudgetInfeasible, BudgetTooSmall):
        return
    planned = report.plan
    assert planned.num_frames == min(frames, info.num_frames)
    assert bool(planned.warnings) == (frames > info.num_frames)
    assert ("video" in report.binding_constraints) == (frames > info.num_frames)


@given(videos, budgets, st.none() | st.integers(1, 40))
def test_law_following_the_hint_is_enough(info, budget, frames):
    budget = dataclasses.replace(budget, num_frames=frames)
    try:
        plan(info, budget, costs=COSTS)
    except BudgetInfeasible as error:
        raised = error.hint.rpartition("raise ")[2]
        latency = re.search(r"--max-latency to ([\d.]+)", raised)
        memory = re.search(r"--max-memory to ([\d.]+)(G|M)B", raised)
        changes = {"max_latency_seconds": float(latency[1])} if latency else {}
        if memory:
            changes["max_memory_bytes"] = float(memory[1]) * {"G": 1e9, "M": 1e6}[memory[2]]
        assert changes
        plan(info, dataclasses.replace(budget, **changes), costs=COSTS)
        fewer = re.search(r"--frames to (\d+)", error.hint)
        if fewer:
            plan(info, dataclasses.replace(budget, num_frames=int(fewer[1])), costs=COSTS)
    except BudgetTooSmall:
        pass


def test_an_infeasible_budget_reports_limits_and_what_would_be_enough():
    with pytest.raises(BudgetInfeasible) as caught:
        plan(video(), Budget(max_latency_seconds=0.01, max_memory_bytes=8 * GB), costs=COSTS)
    least = COSTS.predict(
        Workload(
            num_frames=1,
            num_encoded_frames=1,
            total_tokens=1,
            prompt_tokens=VIDEO_LLAVA_7B.prompt_tokens,
            video=video_stats(video()),
        )
    )
    shown = f"{math.ceil(least.seconds * 10000) / 10000:g} s"
    assert all(one in caught.value.message for one in (shown, "14.77 GB", "1 frame and 1 token", "0.01 s", "8 GB"))
    assert f"--max-latency to {shown[:-2]} and --max-memory to 14.77GB" in caught.value.hint
    assert NOT_CALIBRATED in caught.value.hint
    with pytest.raises(BudgetInfeasible, match=r"20 frames and 20 tokens.* --frames to \d .*--max-latency"):
        plan(video(), Budget(max_latency_seconds=1.2, num_frames=20), costs=COSTS)


def test_every_frame_gets_the_minimum_of_tokens():
    planned = plan(video(), Budget(min_tokens_per_frame=10, prefer="coverage"))
    assert (planned.num_frames, planned.total_tokens) == (13, 136)
    with pytest.raises(BudgetTooSmall) as caught:
        plan(video(), Budget(min_tokens_per_frame=10, num_frames=17))
    assert re.search(r"136 .* 17 .* 10", caught.value.message)
    assert re.search(r"--frames to 13 .*--min-tokens to 8 .*--budget to 170", caught.value.hint)
    with pytest.raises(BudgetTooSmall, match="200"):
        plan(video(), Budget(min_tokens_per_frame=200))
    with pytest.raises(BadArgument, match=r"300 tokens .* 257"):
        plan(video(), Budget(total_tokens=1000, min_tokens_per_frame=300))
    few, many = (
        plan_with_report(video(), Budget(num_frames=8, total_tokens=8 * each), costs=COSTS).costs for each in (3, 4)
    )
    limit = (few.seconds + many.seconds) / 2
    with pytest.raises(BudgetInfeasible, match="lower --min-tokens to 3"):
        plan(video(), Budget(max_latency_seconds=limit, num_frames=8, min_tokens_per_frame=10), costs=COSTS)


def test_preferences():
    wide, deep = (plan(video(), Budget(prefer=prefer)) for prefer in ("coverage", "detail"))
    assert (wide.num_frames, wide.tokens_per_frame) == (136, (1,) * 136)
    assert (deep.num_frames, deep.tokens_per_frame) == (8, (17,) * 8)
    assert plan(video(3), Budget(prefer="detail")).tokens_per_frame == (45, 45, 46)
    assert plan(video(), Budget(total_tokens=5, prefer="detail")).tokens_per_frame == (1,) * 5


def test_a_balanced_plan_follows_measured_accuracy():
    assert plan(video()).num_frames == 34
    assert plan(video(), method="coverage").num_frames == 68
    other = plan_with_report(video(), method="none")
    (note,) = other.notes
    assert (other.plan.num_frames, "visionzip" in note) == (34, True)
    assert plan_with_report(video(), Budget(num_frames=20), method="none").notes == ()


def test_a_balanced_plan_outside_of_measured_counts_is_noted():
    (note,) = plan_with_report(video(5)).notes
    assert re.search(r"\d+ to \d+ frames.* 5,", note)
    few = measured_accuracy().table("visionzip").tokens[0] - 1
    assert re.search(rf"tokens.* {few},", plan_with_report(video(), Budget(total_tokens=few)).notes[0])


def test_binding_constraints_and_alternatives():
    report = plan_with_report(video())
    assert report.binding_constraints == ("tokens",)
    others = {(one.num_frames, one.total_tokens): (one.exceeded_limits, one.reason) for one in report.alternatives}
    table = measured_accuracy().table("visionzip")
    for count in (17, 68):
        limits, reason = others[count, 136]
        assert limits == ()
        assert all(f"{table.at(frames, 136):.1%}" in reason for frames in (count, 34))
    limits, reason = others[34, 137]
    assert limits == ("tokens",)
    assert re.search(r"137 tokens .* 136", reason)

    whole = plan_with_report(video(3), Budget(total_tokens=2000, prefer="coverage"))
    assert (whole.plan.total_tokens, whole.plan.unused_tokens, whole.binding_constraints) == (771, 1229, ("video",))
    (other,) = whole.alternatives
    assert "3 frames" in other.reason

    limited = plan_with_report(video(), Budget(max_latency_seconds=1.5, prefer="coverage"), costs=COSTS)
    assert limited.binding_constraints == ("latency",)
    for one in limited.alternatives:
        assert one.costs.seconds > 1.5 >= limited.costs.seconds
        assert one.exceeded_limits == ("latency",)
        assert "1.5 s" in one.reason
    chosen = limited.plan.num_frames
    assert [one.num_frames for one in limited.alternatives] == [chosen + 1, chosen]


def test_limits_without_costs_assume_the_7b_model_on_cuda():
    report = plan_with_report(video(), Budget(max_latency_seconds=5))
    assert report.cost_model == COSTS
    (note,) = report.notes
    assert "LanguageBind/Video-LLaVA-7B-hf on cuda" in note
    assert plan_with_report(video(), costs=dataclasses.replace(COSTS, is_calibrated=True)).notes == ()


def test_a_model_shape_gives_clips_and_tokens_per_frame():
    shape = dataclasses.replace(VIDEO_LLAVA_7B, frames_per_clip=8, tokens_per_frame=50)
    planned = plan(video(), Budget(total_tokens=1000, num_frames=10), costs=default_costs(shape, "cuda"))
    assert (planned.frames_per_clip, planned.num_encoded_frames) == (8, 16)
    assert planned.total_tokens == 500
    assert plan(video(), costs=default_costs(shape, "cuda"), frames_per_clip=4).frames_per_clip == 4


def test_a_video_of_unknown_keyframes_has_plans_but_no_costs():
    unknown = video(num_keyframes=None)
    assert plan(unknown).num_frames == 34
    with pytest.raises(BadArgument, match=r"some\.mp4"):
        plan(unknown, Budget(max_latency_seconds=5))


@pytest.mark.parametrize("field", ["max_latency_seconds", "max_memory_bytes"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "2", True])
def test_limits_are_numbers_above_0(field, value):
    with pytest.raises(BadArgument, match=re.escape(repr(value))):
        Budget(**{field: value})


def test_unknown_preferences_are_refused():
    with pytest.raises(BadArgument, match=r"'speed'.*balanced, coverage, detail"):
        Budget(prefer="speed")
    with pytest.raises(BadArgument, match="0"):
        Budget(min_tokens_per_frame=0)


@given(videos, budgets, st.floats(0.1, 1), st.sampled_from(["middle", "linspace"]))
def test_law_replanning_keeps_at_most_what_was_decided(info, budget, share, policy):
    try:
        planned = plan(info, budget, policy=policy, costs=COSTS)
    except BudgetInfeasible:
        return
    ends = share * info.duration_seconds
    replanned = replan_on_truncation(planned, info, ends, 257)
    readable = max(1, round(share * info.num_frames))
    assert replanned.num_frames == min(planned.num_frames, readable)
    assert replanned.total_tokens == min(planned.total_tokens, replanned.num_frames * 257)
    assert max(replanned.timestamps_seconds) <= ends
    assert (replanned.budget, replanned.policy) == (planned.budget, policy)
    assert len(replanned.warnings) == 1 + (budget.num_frames is not None)


@given(videos, st.integers(1, 600), st.sampled_from(["balanced", "coverage", "detail"]), st.floats(0.1, 1))
def test_law_without_limits_replanning_is_planning_the_readable_part(info, total, prefer, share):
    budget = Budget(total_tokens=total, prefer=prefer)
    replanned = replan_on_truncation(plan(info, budget), info, share * info.duration_seconds, 257)
    again = plan(truncate_info(info, share * info.duration_seconds), budget)
    assert replanned.timestamps_seconds == again.timestamps_seconds
    assert replanned.tokens_per_frame == again.tokens_per_frame


def test_timestamps_given_by_hand_cannot_be_replanned():
    by_hand = Plan(video_identity=None, budget=Budget(), timestamps_seconds=(1.0,), tokens_per_frame=(4,))
    with pytest.raises(BadArgument):
        replan_on_truncation(by_hand, video(), 2.0, 257)


def test_a_report_holds_the_same_plan_with_or_without_costs():
    report = plan_with_report(video(), costs=COSTS)
    assert report.plan == plan(video()) == plan(video(), costs=COSTS)
    assert hash(report.plan) == hash(plan(video()))
    assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301 - our own bytes


def test_packs_hold_the_limits_and_no_predictions(tmp_path):
    from towers import random_features

    from vidzip import PackedVideo, zip_frames
    from vidzip.packing import pack_zipped

    def saved(planned):
        zipped = zip_frames(random_features(planned.num_frames, 257, dim=12), planned.tokens_per_frame)
        packed = pack_zipped(
            zipped, planned, timestamps_seconds=planned.timestamps_seconds, method="visionzip", tower="t"
        )
        packed.save(tmp_path / "some.vidzip")
        return (tmp_path / "some.vidzip").read_bytes(), PackedVideo.load(tmp_path / "some.vidzip").plan

    plain, priced = (saved(plan(video(), costs=costs)) for costs in (None, COSTS))
    assert plain == priced
    limited = plan(video(), Budget(max_latency_seconds=1.5, max_memory_bytes=2e10, prefer="coverage"), costs=COSTS)
    _, loaded = saved(limited)
    assert loaded == limited
    assert loaded.budget == limited.budget


def test_the_frontier_ends_at_the_first_count_that_exceeds_a_limit():
    planner = Planner(
        info=video(), budget=Budget(max_latency_seconds=1.5, total_tokens=136), max_tokens_per_frame=257, costs=COSTS
    )
    points = planner.frontier(7)
    assert [one.num_frames for one in points][:5] == [1, 2, 4, 7, 8]
    assert [bool(one.exceeded_limits) for one in points] == [False] * (len(points) - 1) + [True]
    assert points[-1].costs.seconds > 1.5
    for one in points[:-1]:
        assert one.costs.seconds <= 1.5
        assert one.total_tokens == planner.space.max_tokens(one.num_frames)
        assert (one.accuracy is None) == (one.num_frames < 8 or one.total_tokens < planner.accuracy.tokens[0])
    free = Planner(info=video(100), budget=Budget(), max_tokens_per_frame=257).frontier()
    assert [one.num_frames for one in free] == [1, 2, 4, 8, 17, 34, 68, 100]
    assert {one.costs for one in free} == {None}
