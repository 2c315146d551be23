"""Generation's hooks: a streamer, a replaced prefill, and positions that the family gives; and where gradients go."""

from __future__ import annotations

import pytest
import torch
from originals import write_original
from transformers import DynamicCache
from transformers.generation.streamers import BaseStreamer

from vidzip import Budget, load
from vidzip.models.timing import Stopwatch

QUESTIONS = ["What is shown?", "Where?", "How many red circles are there in the video?"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original") / "model"
    write_original(folder)
    return load(folder, device="cpu", dtype="float32")


@pytest.fixture(params=["port", "original"])
def model(request):
    return request.getfixturevalue("small" if request.param == "port" else "original")


@pytest.fixture
def packed(model, clip):
    return model.pack(clip, model.plan(clip, Budget(num_frames=8, total_tokens=40)))


def generate(model, packed, questions, max_new_tokens=8, **hooks):
    with torch.no_grad():
        prompts = [model.embed(packed, question) for question in questions]
    return model.language.generate(prompts, max_new_tokens, Stopwatch(model.device), **hooks)


class Collecting(BaseStreamer):
    def __init__(self):
        self.ids, self.ended = [], 0

    def put(self, value):
        assert not self.ended
        self.ids += value.flatten().tolist()

    def end(self):
        self.ended += 1


def test_a_streamer_receives_the_generated_ids_in_order(model, packed):
    streamer = Collecting()
    (generated,) = generate(model, packed, QUESTIONS[:1], streamer=streamer)
    assert len(generated.ids) == 8
    assert streamer.ids == generated.ids
    assert streamer.ended == 1


def test_a_streamer_also_receives_the_stop_token(model, packed, monkeypatch):
    (whole,) = generate(model, packed, QUESTIONS[:1])
    stop = whole.ids[3]
    monkeypatch.setattr(model.network.generation_config, "eos_token_id", [stop])
    streamer = Collecting()
    (generated,) = generate(model, packed, QUESTIONS[:1], streamer=streamer)
    assert generated.finish_reason == "stop"
    assert streamer.ids == [*generated.ids, stop]


def plain_prefill(calls):
    """A prefill that runs the network over all but the last position."""

    def prefill(network, inputs_embeds, attention_mask):
        calls.append(tuple(inputs_embeds.shape[:2]))
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        return network(
            inputs_embeds=inputs_embeds[:, :-1],
            attention_mask=attention_mask[:, :-1],
            position_ids=positions[:, :-1],
            past_key_values=DynamicCache(),
            use_cache=True,
            logits_to_keep=1,
        ).past_key_values

    return prefill


@pytest.mark.parametrize("questions", [QUESTIONS[:1], QUESTIONS], ids=["one prompt", "a padded batch"])
def test_a_replaced_prefill_gives_the_same_answers(model, packed, questions):
    expected = generate(model, packed, questions)
    lengths, calls = [], []
    hook = model.network.get_submodule("model.language_model").register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    try:
        generated = generate(model, packed, questions, prefill=plain_prefill(calls))
    finally:
        hook.remove()
    assert generated == expected
    ((rows, length),) = calls
    assert rows == len(questions)
    assert lengths[:2] == [length - 1, 1]  # the prompt runs once, its last position in the first generation step
    assert max(lengths[1:]) == 1


def said(answer):
    return answer.text, answer.finish_reason, answer.new_tokens


def all_answers(model, packed):
    """Answers of ask, ask_many in a session, and a chat."""
    session = model.session(packed)
    chat = session.chat()
    return [
        *[said(model.ask(packed, question, 8)) for question in QUESTIONS],
        *[said(answer) for answer in session.ask_many(QUESTIONS, 8)],
        *[said(session.ask(question, 8)) for question in QUESTIONS],
        *[said(chat.ask(question, 8)) for question in QUESTIONS],
    ]


def test_default_positions_given_by_the_family_change_no_answer(model, packed, monkeypatch):
    expected = all_answers(model, packed)
    given = []

    def position_ids(self, inputs_embeds, attention_mask):
        given.append(tuple(inputs_embeds.shape[:2]))
        assert inputs_embeds.shape[:2] == attention_mask.shape
        return (attention_mask.cumsum(-1) - 1).clamp(min=0)

    monkeypatch.setattr(type(model.family), "position_ids", position_ids)
    assert all_answers(model, packed) == expected
    assert {rows for rows, _ in given} == {1, len(QUESTIONS)}


def test_positions_given_by_the_family_are_used(model, packed, monkeypatch):
    expected = all_answers(model, packed)

    def scaled(self, inputs_embeds, attention_mask):
        return (attention_mask.cumsum(-1) - 1).clamp(min=0) * 3

    monkeypatch.setattr(type(model.family), "position_ids", scaled)
    answers = all_answers(model, packed)
    assert answers != expected
    one_by_one, batch, session, chat = (answers[i : i + 3] for i in range(0, 12, 3))
    assert one_by_one == batch == session
    assert chat[0] == one_by_one[0]


def test_a_loss_on_embeddings_reaches_projector_and_embedding(model, packed):
    weights = [
        *model.network.get_submodule("model.multi_modal_projector").parameters(),
        model.network.get_input_embeddings().weight,
    ]
    try:
        model.embed(packed, QUESTIONS[0]).square().sum().backward()
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)
    finally:
        model.network.zero_grad(set_to_none=True)


def test_answers_record_no_gradients(model, packed, monkeypatch):
    recorded = []
    forward = model.network.forward

    def watched(*args, **kwargs):
        output = forward(*args, **kwargs)
        recorded.append(kwargs["inputs_embeds"].requires_grad if kwargs.get("inputs_embeds") is not None else False)
        recorded.append(output.logits.requires_grad)
        return output

    monkeypatch.setattr(model.network, "forward", watched)
    model.ask(packed, QUESTIONS[0], 3)
    session = model.session(packed)
    session.ask_many(QUESTIONS, 3)
    session.chat().ask(QUESTIONS[0], 3)
    assert len(recorded) >= 2 * 8
    assert not any(recorded)
    assert not any(layer.keys.requires_grad or layer.values.requires_grad for layer in session._cache.layers)
