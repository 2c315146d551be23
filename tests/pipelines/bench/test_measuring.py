from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.bench import measuring
from pipelines.bench.measuring import ENCODE_COMPRESS, FROM_FILE, FROM_FRAMES, check_cases, in_rounds, measure
from pipelines.bench.published import with_eager_attention
from pipelines.bench.settings import ENCODE, FILE, PUBLISHED, PUBLISHED_ONE_BATCH, TOWER, UNCOMPRESSED, VIDZIP, Case
from pipelines.bench.variants import MeasuredModel
from vidzip.errors import BadArgument, NotAVideo, OutOfMemory

ENCODING = {"preprocess", "encode", ENCODE_COMPRESS}
ANSWERING = {"project", "prefill", "generate", FROM_FRAMES}


def silent(*_):
    pass


@pytest.fixture(scope="module")
def bench_model(small):
    return MeasuredModel(model=small, eager_tower=with_eager_attention(small.tower), question="why?")


def case(variant, dtype="float32", video=None):
    compresses = variant in (PUBLISHED, PUBLISHED_ONE_BATCH, VIDZIP, FILE)
    return Case(
        variant=variant,
        dtype=dtype,
        frames=8 if variant == UNCOMPRESSED else 2,
        tokens=20 if compresses else None,
        video=video,
    )


def test_every_round_has_all_items_in_a_new_order():
    steps = list(in_rounds("abcdefgh", 4))
    assert [turn for turn, _, _ in steps] == [turn for turn in range(5) for _ in range(8)]
    assert [count for _, count, _ in steps] == list(range(40))
    orders = {"".join(item for turn, _, item in steps if turn == one) for one in range(5)}
    assert len(orders) == 5
    assert {"".join(sorted(order)) for order in orders} == {"abcdefgh"}
    assert steps == list(in_rounds("abcdefgh", 4))


def test_every_variant_has_its_stages_in_every_round_but_the_first(bench_model):
    cases = [case(variant) for variant in (UNCOMPRESSED, PUBLISHED, PUBLISHED_ONE_BATCH, TOWER, ENCODE, VIDZIP)]
    steps = []
    found = measure({"float32": bench_model}, cases, 2, lambda *step: steps.append(step))
    assert [one.case for one in found] == cases
    stages = {one.case.variant: set(one.rounds[0]) for one in found}
    assert stages == {
        UNCOMPRESSED: ENCODING | ANSWERING,
        PUBLISHED: ENCODING | ANSWERING | {"compress"},
        PUBLISHED_ONE_BATCH: ENCODING | ANSWERING | {"compress"},
        TOWER: ENCODING,
        ENCODE: ENCODING,
        VIDZIP: ENCODING | ANSWERING | {"compress"},
    }
    for one in found:
        assert len(one.rounds) == 2
        assert one.encode_peak_bytes > 0
        assert (one.answer_peak_bytes is None) == (one.tokens is None) == (one.case.variant in (TOWER, ENCODE))
        assert one.changed_share is None
        for seconds in one.rounds:
            assert min(seconds.values()) > 0
            assert seconds[ENCODE_COMPRESS] == seconds["encode"] + seconds.get("compress", 0)
    tokens = {one.case.variant: one.tokens for one in found}
    assert (tokens[UNCOMPRESSED], tokens[VIDZIP]) == (8 * 257, 20)
    peaks = {one.case.variant: one.encode_peak_bytes for one in found}
    assert peaks[PUBLISHED] == peaks[PUBLISHED_ONE_BATCH] > peaks[VIDZIP]
    assert [step[1:] for step in steps] == [(count, 4 * 6) for count in range(4 * 6)]


def test_a_video_is_measured_from_the_file_and_from_its_frames(bench_model, clip):
    cases = [case(variant, video=str(clip)) for variant in (UNCOMPRESSED, VIDZIP, FILE)]
    check_cases({"float32": bench_model}, cases, silent)
    full, ours, file = measure({"float32": bench_model}, cases, 1, silent)
    for one in (full, ours):
        (seconds,) = one.rounds
        assert seconds[FROM_FILE] == seconds["decode"] + seconds[FROM_FRAMES]
    (seconds,) = file.rounds
    assert seconds[FROM_FILE] > seconds["prefill"]
    assert FROM_FRAMES not in seconds
    assert file.encode_peak_bytes is None


def test_changed_tokens_are_counted(bench_model):
    same = {"float32": bench_model, "bfloat16": bench_model}
    cases = [case(VIDZIP, dtype) for dtype in same]
    assert [one.changed_share for one in measure(same, cases, 1, silent)] == [None, 0]
    assert [one.changed_share for one in measure(same, cases[1:], 1, silent)] == [None]
    kept = {cases[0]: torch.tensor([0, 3, 5, 257]), cases[1]: torch.tensor([0, 3, 6, 258])}
    assert measuring._changed_share(cases[1], kept) == 0.5


def test_a_tower_alone_gives_no_answer(bench_model):
    (found,) = measure({"float32": replace(bench_model, question=None)}, [case(VIDZIP)], 1, silent)
    assert set(found.rounds[0]) == ENCODING | {"compress"}
    assert (found.tokens, found.answer_peak_bytes) == (20, None)


def test_impossible_cases_are_refused_before_measuring(bench_model, clip, tmp_path, monkeypatch):
    models = {"float32": bench_model}
    with pytest.raises(BadArgument, match="has 50 distinct frames, fewer than 51"):
        check_cases(models, [replace(case(VIDZIP, video=str(clip)), frames=51, tokens=51)], silent)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(NotAVideo, match=r"broken\.mp4"):
        check_cases(models, [case(VIDZIP, video=str(broken))], silent)
    monkeypatch.setattr("pipelines.bench.memory.available_bytes", lambda: 1000)
    with pytest.raises(OutOfMemory, match="'published-one-batch' with 2 frames needs"):
        check_cases(models, [case(PUBLISHED_ONE_BATCH)], silent)


def test_the_published_memory_is_estimated(bench_model):
    (found,) = measure({"float32": bench_model}, [case(PUBLISHED_ONE_BATCH)], 1, silent)
    estimated = measuring._published_bytes(bench_model.model, 2)
    assert estimated < found.encode_peak_bytes < 1.5 * estimated


def test_a_case_that_does_not_fit_the_device_is_an_error(bench_model, monkeypatch):
    def full(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MeasuredModel, "encode", full)
    with pytest.raises(OutOfMemory, match="'vidzip' with 2 frames"):
        measure({"float32": bench_model}, [case(VIDZIP)], 1, silent)
