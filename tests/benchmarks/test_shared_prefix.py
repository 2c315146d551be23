from __future__ import annotations

import pytest
import torch
from shared_prefix import ask_all

from vidzip import Budget, plan
from vidzip.errors import BadArgument, BadModelFolder, BadQuestion, ContextTooLong
from vidzip.models.prompting import embed_prompt, prompt_ids

QUESTIONS = ["What is shown?", "Where?", "How many red circles are there in the video?", "What is shown?"]


@pytest.fixture(scope="module", params=["8 full frames", "34 frames, 136 tokens"])
def packed(request, small, clip):
    frames, total = (8, 2056) if request.param.startswith("8") else (34, 136)
    return small.pack(clip, plan(clip, Budget(total_tokens=total, num_frames=frames)))


def said(answer):
    return answer.text, answer.finish_reason, answer.new_tokens, answer.visual_tokens


def test_oracle_answers_equal_those_of_asking_one_by_one(small, packed):
    together = ask_all(small, small.project(packed), QUESTIONS, 12)
    assert [said(answer) for answer in together] == [said(small.ask(packed, question, 12)) for question in QUESTIONS]
    assert together[0] == together[3]
    assert len({answer.text for answer in together}) == 3


def test_oracle_also_where_the_model_ends_its_answers(small, packed, monkeypatch):
    # Letters that occur early in some answers, and none or late in others, become the end marker.
    texts = [small.ask(packed, question, 6).text for question in QUESTIONS]
    ends = [int(small.tokenizer.convert_tokens_to_ids(letter)) for letter in (texts[0][2], texts[1][0])]
    for end in (ends, ends[0]):
        monkeypatch.setattr(small.model.generation_config, "eos_token_id", end)
        together = ask_all(small, small.project(packed), QUESTIONS, 6)
        assert [said(answer) for answer in together] == [said(small.ask(packed, question, 6)) for question in QUESTIONS]
        assert together[0].finish_reason == "stop"


def test_what_prompts_share_runs_through_the_language_model_once(small, packed):
    lengths = []
    hook = small.model.get_submodule("model.language_model").register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    try:
        answers = ask_all(small, small.project(packed), QUESTIONS, 3)
    finally:
        hook.remove()
    marker = small.config.video_token_index
    prompts = [prompt_ids(small.tokenizer, question, marker) for question in QUESTIONS]
    before = prompts[0].index(marker)
    behind = sum(len(ids) - before - 1 for ids in prompts)
    assert lengths[0] == before + packed.num_tokens
    assert sum(lengths[1:]) == behind + sum(answer.new_tokens - 1 for answer in answers)


def test_without_visual_tokens_the_model_sees_the_prompt_alone(small):
    marker = small.config.video_token_index
    ids = prompt_ids(small.tokenizer, QUESTIONS[0], marker)
    none = torch.zeros(0, 64)
    embedded = embed_prompt(ids, marker, none, small.model.get_input_embeddings())
    assert embedded.shape[1] == len(ids) - 1
    own = small.model.generate(
        inputs_embeds=embedded, attention_mask=torch.ones(1, len(ids) - 1), max_new_tokens=8, do_sample=False
    )
    (answer,) = ask_all(small, none, QUESTIONS[:1], 8)
    assert answer.text == small.tokenizer.decode(own[0], skip_special_tokens=True).strip()
    assert answer.visual_tokens == 0


def test_what_cannot_be_asked_is_refused(small, monkeypatch):
    none = torch.zeros(0, 64)
    with pytest.raises(BadQuestion, match="empty"):
        ask_all(small, none, ["What?", ""], 4)
    with pytest.raises(BadArgument, match="max_new_tokens is 0"):
        ask_all(small, none, ["What?"], 0)
    with pytest.raises(ContextTooLong, match="4096 visual"):
        ask_all(small, torch.zeros(4096, 64), ["What?"], 4)
    marker = small.config.video_token_index
    monkeypatch.setattr("shared_prefix.prompt_ids", lambda _, question, __: [len(question), marker, 5])
    with pytest.raises(BadModelFolder, match="begins the prompts of different questions differently"):
        ask_all(small, none, ["What?", "Why?"], 4)
