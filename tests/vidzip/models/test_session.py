from __future__ import annotations

import copy
import threading
from dataclasses import replace

import pytest
import torch

from vidzip import Budget, Session, plan
from vidzip.errors import BadArgument, BadModelFolder, BadQuestion, ContextTooLong, OutOfMemory, TowerMismatch
from vidzip.models.prompting import Prompt, embed_prompt

QUESTIONS = ["What is shown?", "Where?", "How many red circles are there in the video?", "What is shown?"]


@pytest.fixture(scope="module", params=["8 full frames", "34 frames, 136 tokens"])
def packed(request, small, clip):
    frames, total = (8, 2056) if request.param.startswith("8") else (34, 136)
    return small.pack(clip, plan(clip, Budget(total_tokens=total, num_frames=frames)))


def said(answer):
    return answer.text, answer.finish_reason, answer.new_tokens, answer.visual_tokens


def own_ids(model, packed, text, max_new_tokens):
    """Ids that transformers generates from the whole prompt, without a cached prefix."""
    embedding = model.network.get_input_embeddings()
    embeds = embed_prompt(Prompt(before=model.family.prompt("?").before, after=text), model.project(packed), embedding)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    with torch.no_grad():
        ids = model.network.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False
        )[0].tolist()
    return ids[: ids.index(2)] if 2 in ids else ids


@pytest.mark.parametrize("how", ["one by one", "one batch", "batches of two"])
def test_oracle_a_session_answers_as_ask_does(small, packed, how):
    session = small.session(packed)
    if how == "one by one":
        answers = [session.ask(question, 12) for question in QUESTIONS]
    elif how == "one batch":
        answers = small.ask_many(packed, QUESTIONS, 12)
    else:
        answers = session.ask_many(QUESTIONS, 12, batch_questions=2)
    assert [said(answer) for answer in answers] == [said(small.ask(packed, question, 12)) for question in QUESTIONS]
    assert len({answer.text for answer in answers}) == 3


@pytest.mark.parametrize("how", ["one by one", "one batch"])
def test_oracle_a_session_answers_as_ask_does_if_the_model_stops(small, packed, monkeypatch, how):
    # Letters that occur early in some answers, and late or never in others, become stop tokens.
    texts = [small.ask(packed, question, 6).text for question in QUESTIONS]
    ends = [int(small.tokenizer.convert_tokens_to_ids(letter)) for letter in (texts[0][2], texts[1][0])]
    session = small.session(packed)
    for end in (ends, ends[0]):
        monkeypatch.setattr(small.network.generation_config, "eos_token_id", end)
        answers = [session.ask(one, 6) for one in QUESTIONS] if how == "one by one" else session.ask_many(QUESTIONS, 6)
        assert [said(answer) for answer in answers] == [said(small.ask(packed, question, 6)) for question in QUESTIONS]
        assert answers[0].finish_reason == "stop"


def test_the_prompt_prefix_runs_through_the_language_model_once(small, packed):
    lengths = []
    hook = small.network.get_submodule("model.language_model").register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    try:
        session = small.session(packed)
        answers = [session.ask(question, 3) for question in QUESTIONS]
    finally:
        hook.remove()
    prompts = [small.family.prompt(question) for question in QUESTIONS]
    assert lengths[0] == len(prompts[0].before) + packed.num_tokens
    behind = sum(len(prompt.after) for prompt in prompts)
    assert sum(lengths[1:]) == behind + sum(answer.new_tokens - 1 for answer in answers)


def test_without_video_the_model_gets_only_the_prompt(small):
    prompt = small.family.prompt(QUESTIONS[0])
    none = torch.zeros(0, 64)
    embedded = embed_prompt(prompt, none, small.network.get_input_embeddings())
    assert embedded.shape[1] == prompt.num_tokens
    own = small.network.generate(
        inputs_embeds=embedded, attention_mask=torch.ones(1, prompt.num_tokens), max_new_tokens=8, do_sample=False
    )
    answer = Session(small.language, none).ask(QUESTIONS[0], 8)
    assert answer.text == small.tokenizer.decode(own[0], skip_special_tokens=True).strip()
    assert answer.visual_tokens == 0


def test_stages_of_the_video_and_of_each_question_are_separate(small, packed):
    session = small.session(packed)
    assert set(session.stage_seconds) == {*packed.stage_seconds, "project", "prefix"}
    answers = session.ask_many(QUESTIONS, 3)
    for answer in answers:
        assert set(answer.stage_seconds) == {*session.stage_seconds, "prefill", "generate"}
        assert answer.stage_seconds == answers[0].stage_seconds


def test_a_question_that_fails_leaves_the_session_as_it_was(small, packed, monkeypatch):
    session = small.session(packed)
    expected = said(small.ask(packed, QUESTIONS[0], 8))
    layer = small.network.get_submodule("model.language_model.layers.1")
    hook = layer.register_forward_pre_hook(interrupt)  # by then only the first layer's cache has grown
    with pytest.raises(KeyboardInterrupt):
        session.ask(QUESTIONS[1], 8)
    hook.remove()
    assert said(session.ask(QUESTIONS[0], 8)) == expected
    monkeypatch.setattr(small.network, "forward", out_of_memory)
    with pytest.raises(OutOfMemory):
        session.ask(QUESTIONS[1], 8)
    monkeypatch.undo()
    assert said(session.ask(QUESTIONS[0], 8)) == expected


def interrupt(*_):
    raise KeyboardInterrupt


def out_of_memory(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def test_threads_take_turns(small, packed):
    session = small.session(packed)
    expected = {question: said(small.ask(packed, question, 8)) for question in QUESTIONS}
    got = {}
    threads = [
        threading.Thread(target=lambda one: got.setdefault(one, said(session.ask(one, 8))), args=(question,))
        for question in QUESTIONS[:3] * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {question: expected[question] for question in QUESTIONS[:3]}


def test_oracle_a_chat_answers_as_the_model_does_after_the_whole_conversation(small, packed):
    chat = small.session(packed).chat()
    text = ()
    for number, question in enumerate(QUESTIONS):
        asked = small.family.chat_turn(question) if number else small.family.prompt(question).after
        expected = own_ids(small, packed, (*text, *asked), 5 + number)
        answer = chat.ask(question, 5 + number)
        assert answer.text == small.tokenizer.decode(expected, skip_special_tokens=True).strip()
        text = (*text, *asked, *expected)
    assert [question for question, _ in chat.turns] == QUESTIONS
    assert chat.turns[0][1].text != chat.turns[3][1].text  # the same question after a conversation


def test_oracle_a_chat_with_answers_that_the_model_ends(small, packed, monkeypatch):
    first = small.ask(packed, QUESTIONS[0], 6)
    letter = first.text[3]
    end = int(small.tokenizer.convert_tokens_to_ids(letter))
    monkeypatch.setattr(small.network.generation_config, "eos_token_id", [end, small.tokenizer.eos_token_id])
    chat = small.session(packed).chat()
    answers = [chat.ask(question, 6) for question in QUESTIONS[:2]]
    assert answers[0].finish_reason == "stop"
    opening = small.family.prompt(QUESTIONS[0]).after
    said_first = own_ids(small, packed, opening, 6)
    said_first = said_first[: said_first.index(end)]
    text = (*opening, *said_first, *small.family.chat_turn(QUESTIONS[1]))
    expected = own_ids(small, packed, text, 6)
    expected = expected[: expected.index(end)] if end in expected else expected
    assert answers[1].text == small.tokenizer.decode(expected, skip_special_tokens=True).strip()


def test_chats_and_their_session_are_independent(small, packed):
    session = small.session(packed)
    one, other = session.chat(), session.chat()
    one.ask(QUESTIONS[1], 4)
    assert said(other.ask(QUESTIONS[0], 8)) == said(small.ask(packed, QUESTIONS[0], 8))
    assert said(session.ask(QUESTIONS[0], 8)) == said(small.ask(packed, QUESTIONS[0], 8))


def test_a_turn_that_fails_leaves_the_conversation_as_it_was(small, packed):
    session = small.session(packed)
    chat, undisturbed = session.chat(), session.chat()
    for one in (chat, undisturbed):
        one.ask(QUESTIONS[0], 6)
    layer = small.network.get_submodule("model.language_model.layers.1")
    hook = layer.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        chat.ask(QUESTIONS[1], 6)
    hook.remove()
    with pytest.raises(BadQuestion, match="</s>"):
        chat.ask("</s>", 6)
    with pytest.raises(ContextTooLong, match="4096"):
        chat.ask("Why?", 4000)
    assert len(chat.turns) == 1
    assert said(chat.ask(QUESTIONS[2], 8)) == said(undisturbed.ask(QUESTIONS[2], 8))


def test_a_chat_turn_begins_with_the_end_token_and_has_no_start_token(small):
    ids = small.family.chat_turn("Why?")
    assert small.tokenizer.convert_ids_to_tokens(ids) == ["</s>", *"USER:", "▁", *"Why?", "▁", *"ASSISTANT:"]


def test_half_precision_answers_too(small, packed):
    half = replace(small, family=replace(small.family, network=copy.deepcopy(small.network).half()))
    half.__dict__["tower_fingerprint"] = small.tower_fingerprint  # of the stored weights
    answers = half.session(packed).ask_many(QUESTIONS, 4)
    assert [answer.new_tokens for answer in answers] == [4, 4, 4, 4]


def test_invalid_requests_are_refused(small, packed, monkeypatch):
    session = Session(small.language, torch.zeros(0, 64))
    assert session.ask_many([]) == []
    with pytest.raises(BadQuestion, match="question"):
        session.ask_many(["What?", ""], 4)
    with pytest.raises(BadArgument, match="What"):
        session.ask_many("What?")
    with pytest.raises(BadArgument, match="batch_questions is 0"):
        session.ask_many(["What?"], batch_questions=0)
    with pytest.raises(BadArgument, match="max_new_tokens is 0"):
        session.ask("What?", 0)
    with pytest.raises(ContextTooLong, match="4000"):
        Session(small.language, torch.zeros(4000, 64)).ask("What?", 400)
    foreign = copy.copy(packed)
    object.__setattr__(foreign, "tower", "another")
    with pytest.raises(TowerMismatch, match="another"):
        small.session(foreign)
    monkeypatch.setattr(type(small.family), "prompt", lambda _, question: Prompt(before=(len(question),), after=(5,)))
    with pytest.raises(BadModelFolder, match="tiny-random"):
        session.ask_many(["What?", "Why?"], 4)
