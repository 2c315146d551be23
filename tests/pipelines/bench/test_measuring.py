from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.bench import measuring
from pipelines.bench.measuring import FROM_FILE, FROM_FRAMES, SHRINK, check_cases, in_rounds, measure
from pipelines.bench.published import eager
from pipelines.bench.settings import ENCODE, FILE, FULL, OURS, PUBLISHED, TOWER, WHOLE, Case
from pipelines.bench.ways import Subject
from vidzip.errors import BadArgument, NotAVideo, OutOfMemory

LOOKING = {"preprocess", "encode", SHRINK}
ASKING = {"project", "prefill", "generate", FROM_FRAMES}


def silently(*_):
    pass


@pytest.fixture(scope="module")
def subject(small):
    return Subject(model=small, eager=eager(small.tower), question="why?")


def case(way, dtype="float32", video=None):
    compresses = way in (PUBLISHED, WHOLE, OURS, FILE)
    return Case(way=way, dtype=dtype, frames=8 if way == FULL else 2, tokens=20 if compresses else None, video=video)


def test_every_round_has_all_of_it_in_an_order_of_its_own():
    steps = list(in_rounds("abcdefgh", 4))
    assert [turn for turn, _, _ in steps] == [turn for turn in range(5) for _ in range(8)]
    assert [count for _, count, _ in steps] == list(range(40))
    orders = {"".join(item for turn, _, item in steps if turn == one) for one in range(5)}
    assert len(orders) == 5
    assert {"".join(sorted(order)) for order in orders} == {"abcdefgh"}
    assert steps == list(in_rounds("abcdefgh", 4))


def test_every_way_has_its_stages_in_every_round_but_the_first(subject):
    cases = [case(way) for way in (FULL, PUBLISHED, WHOLE, TOWER, ENCODE, OURS)]
    shown = []
    found = measure({"float32": subject}, cases, 2, lambda *step: shown.append(step))
    assert [one.case for one in found] == cases
    stages = {one.case.way: set(one.rounds[0]) for one in found}
    assert stages == {
        FULL: LOOKING | ASKING,
        PUBLISHED: LOOKING | ASKING | {"compress"},
        WHOLE: LOOKING | ASKING | {"compress"},
        TOWER: LOOKING,
        ENCODE: LOOKING,
        OURS: LOOKING | ASKING | {"compress"},
    }
    for one in found:
        assert len(one.rounds) == 2
        assert one.look_bytes > 0
        assert (one.ask_bytes is None) == (one.tokens is None) == (one.case.way in (TOWER, ENCODE))
        assert one.differing is None
        for seconds in one.rounds:
            assert min(seconds.values()) > 0
            assert seconds[SHRINK] == seconds["encode"] + seconds.get("compress", 0)
    tokens = {one.case.way: one.tokens for one in found}
    assert (tokens[FULL], tokens[OURS]) == (8 * 257, 20)
    peaks = {one.case.way: one.look_bytes for one in found}
    assert peaks[PUBLISHED] == peaks[WHOLE] > peaks[OURS]
    assert [step[1:] for step in shown] == [(count, 4 * 6) for count in range(4 * 6)]


def test_a_video_is_measured_from_the_file_and_from_its_frames(subject, clip):
    cases = [case(way, video=str(clip)) for way in (FULL, OURS, FILE)]
    check_cases({"float32": subject}, cases, silently)
    full, ours, file = measure({"float32": subject}, cases, 1, silently)
    for one in (full, ours):
        (seconds,) = one.rounds
        assert seconds[FROM_FILE] == seconds["decode"] + seconds[FROM_FRAMES]
    (seconds,) = file.rounds
    assert seconds[FROM_FILE] > seconds["prefill"]
    assert FROM_FRAMES not in seconds
    assert file.look_bytes is None


def test_tokens_that_are_kept_elsewhere_are_counted(subject):
    same = {"float32": subject, "bfloat16": subject}
    cases = [case(OURS, dtype) for dtype in same]
    assert [one.differing for one in measure(same, cases, 1, silently)] == [None, 0]
    assert [one.differing for one in measure(same, cases[1:], 1, silently)] == [None]
    kept = {cases[0]: torch.tensor([0, 3, 5, 257]), cases[1]: torch.tensor([0, 3, 6, 258])}
    assert measuring._differing(cases[1], kept) == 0.5


def test_a_model_without_a_language_model_is_not_asked(subject):
    (found,) = measure({"float32": replace(subject, question=None)}, [case(OURS)], 1, silently)
    assert set(found.rounds[0]) == LOOKING | {"compress"}
    assert (found.tokens, found.ask_bytes) == (20, None)


def test_what_cannot_be_measured_is_refused_before(subject, clip, tmp_path, monkeypatch):
    subjects = {"float32": subject}
    with pytest.raises(BadArgument, match="has 50 distinct frames, fewer than 51"):
        check_cases(subjects, [replace(case(OURS, video=str(clip)), frames=51, tokens=51)], silently)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(NotAVideo, match=r"broken\.mp4"):
        check_cases(subjects, [case(OURS, video=str(broken))], silently)
    monkeypatch.setattr("pipelines.bench.memory.available_bytes", lambda: 1000)
    with pytest.raises(OutOfMemory, match="'published-whole' of 2 frames needs"):
        check_cases(subjects, [case(WHOLE)], silently)


def test_what_the_published_way_keeps_is_foreseen(subject):
    (found,) = measure({"float32": subject}, [case(WHOLE)], 1, silently)
    foreseen = measuring._kept_bytes(subject.model, 2)
    assert foreseen < found.look_bytes < 1.5 * foreseen


def test_what_does_not_fit_a_device_is_said(subject, monkeypatch):
    def full(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Subject, "look", full)
    with pytest.raises(OutOfMemory, match="the way 'ours' of 2 frames does not fit"):
        measure({"float32": subject}, [case(OURS)], 1, silently)
