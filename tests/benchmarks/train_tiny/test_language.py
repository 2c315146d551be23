from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.train_tiny.initial_model import build_initial_model
from benchmarks.train_tiny.language import Output, answer_questions, collate, sample_tokens, tokenize
from benchmarks.train_tiny.training_frames import sample_render_spec
from benchmarks.train_tiny.training_questions import MAX_COUNT_QUESTIONS, MAX_PER_KIND, training_questions
from eval.shapes import KINDS, make_clip
from eval.shapes.questions import vocabulary
from eval.shapes.random_stream import RandomStream
from vidzip.models.prompting import embed_prompt
from vidzip.models.video_llava import VideoLlava


@pytest.fixture(scope="module")
def parts():
    model, tokenizer = build_initial_model(vocabulary(), seed=4)
    return model.eval(), tokenizer


def test_the_vocabulary_holds_every_word_of_the_set(parts):
    _, tokenizer = parts
    for index in range(150):
        for question in make_clip("validation", 3, index).questions:
            ids = tokenizer(f"{question.text} {question.answer}")["input_ids"]
            assert tokenizer.unk_token_id not in ids, question.text


def test_answers_decode_to_their_text(parts):
    _, tokenizer = parts
    for question in make_clip("validation", 3, 0).questions:
        ids = tokenizer(question.answer, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == question.answer


def test_training_questions_can_be_answered_from_the_frames():
    kinds = set()
    for index in range(40):
        spec = sample_render_spec("train", 1, index)
        asked = training_questions(RandomStream(1, index), spec.clip, spec.frames)
        kinds |= {question.kind for question in asked}
        assert all(question.is_shown(spec.clip.scene, spec.frames) for question in asked)
        most = {kind: MAX_COUNT_QUESTIONS if kind == "count" else MAX_PER_KIND for kind in KINDS}
        assert all(sum(q.kind == kind for q in asked) <= most[kind] for kind in KINDS)
    assert kinds == set(KINDS)


def test_one_frame_has_no_questions_about_motion_or_order():
    spec = sample_render_spec("train", 1, 5)
    asked = training_questions(RandomStream(2), spec.clip, spec.frames[:1])
    assert {question.kind for question in asked}.isdisjoint({"direction", "order"})


def test_questions_in_one_sequence_are_answered_as_each_alone(parts):
    model, tokenizer = parts
    video_token_id = model.config.video_token_index
    generator = torch.Generator().manual_seed(0)
    visual = [torch.randn(count, 128, generator=generator) for count in (30, 11)]
    clips = [make_clip("train", 1, index) for index in range(2)]
    pairs = [[tokenize(tokenizer, video_token_id, question) for question in clip.questions] for clip in clips]
    batch = collate(pairs[0][0][0], visual, [[one for _, one in row] for row in pairs], tokenizer.pad_token_id)
    with torch.no_grad():
        output = answer_questions(model, batch)
    logits, targets = output.logits, output.targets
    start = 0
    for tokens, clip in zip(visual, clips, strict=True):
        for question in clip.questions:
            answer = tokenizer(question.answer, add_special_tokens=False)["input_ids"]
            asked = VideoLlava(network=model, tokenizer=tokenizer, preprocessor=None).prompt(question.text)
            with torch.no_grad():
                visual_embeds = model.model.multi_modal_projector(tokens)
                prompt = embed_prompt(asked, visual_embeds, model.get_input_embeddings())
                answer_embeds = model.get_input_embeddings()(torch.tensor([answer]))
                alone = model(inputs_embeds=torch.cat([prompt, answer_embeds], dim=1)).logits[0, -1 - len(answer) :]
            end = start + len(answer) + 1
            torch.testing.assert_close(logits[start:end], alone, atol=1e-4, rtol=1e-4)
            assert targets[start:end].tolist() == [*answer, tokenizer.eos_token_id]
            start = end
    assert start == len(targets)


@pytest.mark.parametrize("tokens", [16, 40, 136, 900])
def test_patches_are_dropped_at_random_and_cls_is_kept(tokens):
    features = np.arange(12 * 257, dtype=np.float32).reshape(12, 257, 1)
    sample = sample_tokens(RandomStream(5, tokens), features, tokens)
    visual, numbers = sample.visual, sample.frames
    assert len(visual) <= tokens
    ids = visual[:, 0].int()
    frames, patches = ids // 257, ids % 257
    assert sorted(set(frames.tolist())) == numbers
    assert torch.equal(ids, ids.sort().values)
    assert (patches == 0).sum() == len(numbers)
    assert len(visual) % len(numbers) == 0
    assert torch.equal(patches.view(len(numbers), -1), torch.from_numpy(sample.tokens))
    again = sample_tokens(RandomStream(6, tokens), features, tokens).visual
    assert len(again) != len(visual) or not torch.equal(again, visual)


def test_kept_patches_are_clustered_or_uniform():
    spreads = []
    for number in range(40):
        kept = sample_tokens(RandomStream(8, number), np.zeros((3, 257, 1), dtype=np.float32), 3 * 17).tokens
        if len(kept) < 3:
            continue
        rows, columns = np.divmod(kept[:, 1:] - 1, 16)
        spreads.append(np.stack([rows, columns]).std(axis=-1).mean())
    assert min(spreads) < 2.5  # a window of four by four has 1.1
    assert max(spreads) > 4  # the whole frame has 4.6


def test_a_full_sample_has_every_patch_of_eight_frames():
    features = np.zeros((20, 257, 1), dtype=np.float32)
    sample = sample_tokens(RandomStream(7), features, 8 * 257)
    assert len(sample.frames) == 8
    assert len(sample.visual) == 8 * 257
    assert (sample.tokens == np.arange(257)).all()


def test_correct_answers_are_counted_by_kind(parts):
    model, tokenizer = parts
    questions = make_clip("train", 1, 0).questions
    pairs = [tokenize(tokenizer, model.config.video_token_index, question) for question in questions]
    batch = collate(pairs[0][0], [torch.zeros(3, 128)], [[one for _, one in pairs]], tokenizer.pad_token_id)
    predicted = batch.targets[batch.targets != -100].clone()
    wrong = sum(len(one.answer) for one in batch.asked[:3])
    predicted[wrong] += 1  # the first word of the fourth answer
    logits = torch.nn.functional.one_hot(predicted, len(tokenizer)).float()
    truth = batch.targets[batch.targets != -100]
    answers = Output(
        logits=logits, targets=truth, states=(), auxiliary_targets=batch.auxiliary_targets, asked=batch.asked
    )
    assert answers.correct() == [(question.kind, i != 3) for i, question in enumerate(questions)]


def test_padding_changes_nothing(parts):
    model, tokenizer = parts
    tokens = torch.randn(9, 128, generator=torch.Generator().manual_seed(1))
    longer = torch.randn(25, 128, generator=torch.Generator().manual_seed(2))
    question = make_clip("train", 1, 0).questions[0]
    prefix, one = tokenize(tokenizer, model.config.video_token_index, question)
    other = replace(one, prompt=[*one.prompt, *one.prompt])
    alone = collate(prefix, [tokens], [[one]], tokenizer.pad_token_id)
    padded = collate(prefix, [tokens, longer], [[one], [other, one]], tokenizer.pad_token_id)
    with torch.no_grad():
        expected = answer_questions(model, alone).logits
        logits = answer_questions(model, padded).logits
    torch.testing.assert_close(logits[: len(expected)], expected, atol=1e-4, rtol=1e-4)
