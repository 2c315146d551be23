from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from clips import write_numbered

from vidzip import Budget, VidzipError, decode, load, plan, probe, sample
from vidzip.compress import METHODS, make_method, visionzip
from vidzip.compress.stride import Stride
from vidzip.errors import BadArgument, BadQuestion, ContextTooLong, OutOfMemory, PlanMismatch, TowerMismatch
from vidzip.models.tiny_random import build_tokenizer
from vidzip.models.video_llava import prompt_ids

QUESTION = "What is shown?"


def pack(model, clip, frames=8, total=136, **options):
    return model.pack(clip, plan(clip, Budget(total_tokens=total, num_frames=frames)), **options)


def pack_full(model, clip, frames=8):
    return pack(model, clip, frames, frames * model.tokens_per_frame)


def expanded_ids(model, num_tokens):
    """The prompt of transformers' own processor: the video token repeated for every visual token."""
    marker = model.config.video_token_index
    ids = prompt_ids(model.tokenizer, QUESTION, marker)
    at = ids.index(marker)
    return torch.tensor([ids[:at] + [marker] * num_tokens + ids[at + 1 :]])


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_uncompressed_logits_equal_the_models_own(built_in, clip, frames):
    pixels = decode(clip, sample(probe(clip), frames)).pixels
    with torch.no_grad():
        own = built_in.network(
            input_ids=expanded_ids(built_in, frames * 257), pixel_values_videos=built_in.preprocessor(pixels)[None]
        ).logits
        ours = built_in.network(inputs_embeds=built_in.embed(pack_full(built_in, clip, frames), QUESTION)).logits
    assert own.shape == ours.shape
    torch.testing.assert_close(ours, own, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [-1, -2, 1, 3])
def test_the_layer_is_the_one_the_checkpoint_names(clip, layer):
    model = load("tiny-random", device="cpu", dtype="float32")
    model.config.vision_feature_layer = layer
    pixels = decode(clip, [0.5]).pixels
    with torch.no_grad():
        states = model.tower(model.preprocessor(pixels), output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.encode(decode(clip, [0.5])).tokens, states[layer], rtol=0, atol=1e-5)


def test_the_uncompressed_answer_is_the_models_own(built_in, clip):
    pixels = decode(clip, sample(probe(clip), 8)).pixels
    ids = expanded_ids(built_in, 8 * 257)
    output = built_in.network.generate(
        input_ids=ids, pixel_values_videos=built_in.preprocessor(pixels)[None], max_new_tokens=12, do_sample=False
    )
    answer = built_in.ask_uncompressed(clip, QUESTION, max_new_tokens=12)
    assert answer.text == built_in.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert answer.visual_tokens == 2056
    has_stopped = int(output[0, -1]) == built_in.tokenizer.eos_token_id
    assert answer.finish_reason == ("stop" if has_stopped else "length")
    assert answer.new_tokens == output.shape[1] - ids.shape[1] - has_stopped


@pytest.mark.parametrize("frames", [1, 7, 8, 16, 17, 34])
def test_a_pack_holds_136_tokens_at_every_frame_count(small, clip, frames):
    packed = pack(small, clip, frames)
    assert packed.num_tokens == 136
    assert packed.num_frames == frames
    assert packed.uncompressed_tokens == frames * 257
    assert packed.tokens.shape == (136, 64)
    length = small.embed(packed, QUESTION).shape[1]
    assert length == 136 + small.family.prompt(QUESTION).num_tokens


def test_packing_is_decode_encode_compress(small, clip):
    planned = plan(clip, Budget(num_frames=20))
    packed = small.pack(clip, planned, merge="mean")
    features = small.encode(decode(clip, planned.timestamps_seconds))
    expected = visionzip(features, planned.tokens_per_frame, merge="mean")
    torch.testing.assert_close(packed.tokens, expected.tokens, rtol=0, atol=1e-5)
    assert packed.source.equal(expected.source)
    assert packed.timestamps_seconds == decode(clip, planned.timestamps_seconds).timestamps_seconds


def test_a_method_may_be_given_with_its_options(small, clip):
    named = pack(small, clip, method="visionzip", merge="mean")
    given = pack(small, clip, method=make_method("visionzip", {"merge": "mean"}))
    assert given.tokens.equal(named.tokens)
    assert given.method == named.method == "visionzip(merge=mean)"
    assert pack(small, clip).method == "visionzip"


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if kind.takes_any_budget])
def test_every_method_packs_the_budget(small, clip, method):
    packed = pack(small, clip, 20, method=method)
    assert packed.num_tokens == sum(packed.tokens_per_frame) == 136
    assert METHODS[method].is_across_frames or packed.tokens_per_frame == packed.plan.tokens_per_frame
    assert small.embed(packed, QUESTION).shape[1] == 136 + small.family.prompt(QUESTION).num_tokens


def test_invalid_methods_are_refused_before_a_frame_is_decoded(small, clip, monkeypatch):
    monkeypatch.setattr(type(small), "encoder", property(lambda _: pytest.fail("frames were encoded")))
    with pytest.raises(BadArgument, match=r"257.* 17"):
        pack(small, clip, method="none")
    with pytest.raises(BadArgument, match="'magic'"):
        pack(small, clip, method="magic")
    with pytest.raises(BadArgument, match="'merge'"):
        pack(small, clip, method="stride", merge="mean")


def test_without_compression_tokens_are_the_towers(small, clip):
    packed = pack(small, clip, 3, 3 * 257, method="none")
    assert packed.tokens.equal(pack_full(small, clip, 3).tokens)


def test_the_number_of_frames_encoded_at_once_changes_nothing(small, clip):
    one_by_one = dataclasses.replace(small, max_batch_frames=1)
    torch.testing.assert_close(pack(one_by_one, clip).tokens, pack(small, clip).tokens, rtol=0, atol=1e-5)


def test_answers_are_greedy_and_repeatable(small, clip):
    packed = pack(small, clip)
    first, second = (small.ask(packed, QUESTION, max_new_tokens=8) for _ in range(2))
    assert first.text == second.text
    with torch.no_grad():
        logits = small.network(inputs_embeds=small.embed(packed, QUESTION)).logits
    likeliest = small.tokenizer.decode([int(logits[0, -1].argmax())])
    assert first.text.startswith(likeliest.strip())
    assert set(first.stage_seconds) == {
        "decode", "preprocess", "encode", "compress", "project", "prefill", "generate",
    }  # fmt: skip
    assert all(seconds >= 0 for seconds in first.stage_seconds.values())


def test_answers_depend_on_the_question_and_the_video(small, clip, tmp_path):
    other = tmp_path / "other.mp4"
    write_numbered(other, num_frames=200)
    here, there = pack(small, clip), pack(small, other)
    answers = {small.ask(*asked, 16).text for asked in ((here, QUESTION), (here, "Where is it?"), (there, QUESTION))}
    assert len(answers) == 3


def test_generation_that_stops_by_itself_says_so(small, clip, monkeypatch):
    packed = pack(small, clip)
    whole = small.ask(packed, QUESTION, max_new_tokens=6)
    ending = small.tokenizer.convert_tokens_to_ids(whole.text[2])
    at = whole.text.index(whole.text[2])
    monkeypatch.setattr(small.network.generation_config, "eos_token_id", [ending])
    stopped = small.ask(packed, QUESTION, max_new_tokens=6)
    assert stopped.finish_reason == "stop"
    assert stopped.new_tokens == at
    assert stopped.text == whole.text[:at]


def test_progress_is_reported(small, clip):
    told = []
    pack(small, clip, 20, on_progress=lambda *one: told.append(one))
    assert told == [("encode", done, 20) for done in (8, 16, 20)]


def test_a_plan_for_another_video_is_refused(small, clip, tmp_path):
    other = tmp_path / "other.mp4"
    write_numbered(other, num_frames=30)
    with pytest.raises(PlanMismatch, match=re.escape(str(other))):
        small.pack(other, plan(clip))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    assert small.pack(copy, plan(clip)).num_tokens == 136
    nameless = dataclasses.replace(plan(clip), video_identity=None)
    with pytest.raises(PlanMismatch, match="plan"):
        small.pack(clip, nameless)


def test_a_plan_for_a_larger_tower_is_refused(small, clip):
    large = plan(clip, Budget(total_tokens=600, num_frames=2), max_tokens_per_frame=577)
    with pytest.raises(PlanMismatch, match=r"300 tokens.*tiny-random.* 257"):
        small.pack(clip, large)


def test_another_towers_tokens_are_refused(small, clip):
    packed = dataclasses.replace(pack(small, clip), tower="another")
    with pytest.raises(TowerMismatch, match="another"):
        small.ask(packed, QUESTION)


def test_the_fingerprint_is_of_the_towers_weights(small):
    again = load("tiny-random", device="cpu", dtype="float32")
    assert again.tower_fingerprint == small.tower_fingerprint
    changed = load("tiny-random", device="cpu", dtype="float32")
    with torch.no_grad():
        changed.tower.encoder.layers[3].mlp.fc2.bias[-1] += 1
    assert changed.tower_fingerprint != small.tower_fingerprint


def test_the_token_count_is_checked_before_the_language_model_runs(small, clip, monkeypatch):
    packed = pack(small, clip)
    object.__setattr__(packed, "tokens", torch.cat([packed.tokens, packed.tokens[:1]]))
    monkeypatch.setattr(small.network, "generate", lambda **_: pytest.fail("the language model ran"))
    with pytest.raises(PlanMismatch, match=r"137.* 136"):
        small.ask(packed, QUESTION)


def test_a_method_that_overspends_is_caught(small, clip, monkeypatch):
    class Greedy(Stride):
        def compress(self, features, counts):
            return visionzip(features, [k + 1 for k in counts])

    monkeypatch.setitem(METHODS, "greedy", Greedy)
    with pytest.raises(PlanMismatch, match=r"144.* 136"):
        pack(small, clip, method="greedy")


def test_frames_that_turn_out_to_repeat_are_packed_once(small, tmp_path):
    # Four pictures, of which the third stays for two seconds, planned as if the rate were constant.
    path = tmp_path / "slides.mkv"
    write_numbered(path, times=[0.0, 0.5, 1.0, 3.0])
    steady = dataclasses.replace(probe(path), num_frames=100, frame_times_seconds=None)
    planned = plan(steady, Budget(total_tokens=40, num_frames=6))
    packed = small.pack(path, planned)
    assert packed.timestamps_seconds == (0.0, 0.5, 1.0)
    assert packed.plan.tokens_per_frame == (6, 7, 27)
    assert packed.num_tokens == 40
    (warning,) = packed.warnings
    assert "3" in warning
    # With the true times, as a plan from the file itself has them, no frame repeats.
    assert small.pack(path, plan(path, Budget(total_tokens=40, num_frames=4))).num_frames == 4


def test_warnings_reach_the_answer(small, clip):
    packed = pack(small, clip, 60)
    assert packed.num_frames == 50
    (warning,) = small.ask(packed, QUESTION, 1).warnings
    assert "50" in warning
    assert "60" in warning


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("", "question"),
        ("  \n", "question"),
        ("Is <video> a word?", "<video>"),
        ("stop</s>", "</s>"),
        ("<image>?", "<image>"),
    ],
)
def test_invalid_questions_are_refused(small, clip, question, says):
    with pytest.raises(BadQuestion, match=says):
        small.ask(pack(small, clip), question)


def test_questions_may_be_in_any_script(small, clip):
    assert small.ask(pack(small, clip), "何が見えますか? 🎬", 4).new_tokens == 4


def test_a_prompt_that_exceeds_the_context_is_refused(small, clip):
    with pytest.raises(ContextTooLong, match=r"4112 .* 64 .* 4096"):
        small.ask_uncompressed(clip, QUESTION, num_frames=16)
    with pytest.raises(ContextTooLong, match="4000"):
        small.ask(pack(small, clip), QUESTION, max_new_tokens=4000)


def test_running_out_of_memory_is_reported(small, clip, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    packed = pack(small, clip)
    monkeypatch.setattr(small.network, "generate", full)
    with pytest.raises(OutOfMemory, match="136"):
        small.ask(packed, QUESTION)
    monkeypatch.setattr("vidzip.models.encoding.observe", full)
    with pytest.raises(OutOfMemory, match="8 frames"):
        pack(small, clip)


def test_bad_arguments_are_refused(small, clip):
    with pytest.raises(BadArgument, match="max_new_tokens is 0"):
        small.ask(pack(small, clip), QUESTION, max_new_tokens=0)
    with pytest.raises(BadArgument, match="num_frames is 0"):
        small.ask_uncompressed(clip, QUESTION, num_frames=0)
    with pytest.raises(BadArgument, match="'magic'"):
        pack(small, clip, method="magic")
    with pytest.raises(VidzipError, match=r"missing\.mp4"):
        small.pack("missing.mp4", plan(clip))


def test_the_prompt_is_tokenised_as_a_whole():
    # The tokenizer marks the start of a text with "▁". Tokenised apart, the piece behind the video would get a mark
    # of its own: another prompt than the model was trained on.
    tokenizer = build_tokenizer()
    marker = tokenizer.convert_tokens_to_ids("<video>")
    ids = prompt_ids(tokenizer, "Why?", marker)
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "<s>", "▁", *"USER:", "▁", "<video>", "\n", *"Why?", "▁", *"ASSISTANT:",
    ]  # fmt: skip
    behind = tokenizer("\nWhy? ASSISTANT:", add_special_tokens=False)["input_ids"]
    apart = [*tokenizer("USER: ")["input_ids"], marker, *behind]
    assert apart != ids
    assert tokenizer.convert_ids_to_tokens(apart[len(apart) - len(behind) :])[0] == "▁"


def test_letters_bytes_and_left_padding():
    tokenizer = build_tokenizer()
    text = "Zwölf 🎬 frames, 8 tokens"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    padded = tokenizer(["a", "abc"], padding=True)["input_ids"]
    assert padded[0][0] == tokenizer.pad_token_id
