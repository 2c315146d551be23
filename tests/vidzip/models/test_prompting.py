from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from originals import SYSTEM, processor, published_prompt, settings_of, write_original
from transformers import LlamaTokenizer

from vidzip.errors import BadModelFolder, BadQuestion
from vidzip.models.checkpoint import Checkpoint
from vidzip.models.prompting import Prompt, embed_prompt
from vidzip.models.tiny_random import build_tokenizer
from vidzip.models.video_llava import VideoLlava
from vidzip.models.video_llava_original import OriginalVideoLlava, load_original_tokenizer, read_original_config

QUESTIONS = [
    "What is shown in the video?",
    "Why",
    "何が見えますか? 🎬",
    "Zwölf naïve façades, ﬁne ǆ ½ ①",  # characters that other normalisations take apart
    "👩‍👩‍👧‍👦 and 🇩🇪",
    "  two spaces before, two  within, two behind  ",
    "\tone tab\n\nand two new lines\n",
    "In 1984, 3.14 or 1,000,000?",
    "USER: who is it? ASSISTANT: me. USER: really?",
    "a▁mark of a space",
    "\x00\x07 are no letters",
    "\u200f\u05e9\u05dc\u05d5\u05dd",
    "< s > </s",
]

END = 2
LEGACY = {"false": False, "true": True, "left out": True}


def published_turn(question, *, legacy):
    """The end mark, then the next question: with a space of its own where that is how it was, once."""
    return [END, *processor(dummy_prefix=legacy).encode(f"USER: {question} ASSISTANT:")]


@pytest.fixture(scope="module", params=LEGACY)
def said(request, tmp_path_factory):
    """What a checkpoint's tokenizer_config.json says of ``legacy``."""
    folder = tmp_path_factory.mktemp("original")
    write_original(folder)
    settings_of(
        "tokenizer_config.json",
        lambda settings: (
            settings.pop("legacy") if request.param == "left out" else settings.update(legacy=LEGACY[request.param])
        ),
    )(folder)
    return LEGACY[request.param], folder


def family(kind, tokenizer, **config):
    """A family of which only the prompts are used."""
    return kind(network=SimpleNamespace(config=SimpleNamespace(**config)), tokenizer=tokenizer, preprocessor=None)


@pytest.fixture(scope="module")
def original(said):
    """The family, and whether its tokenizer is legacy."""
    legacy, folder = said
    checkpoint = Checkpoint.open(folder)
    tokenizer = load_original_tokenizer(checkpoint, read_original_config(folder, checkpoint.config))
    return legacy, family(OriginalVideoLlava, tokenizer)


@pytest.mark.parametrize("question", QUESTIONS)
def test_oracle_the_originals_ids_are_those_of_sentencepiece_and_its_own_code(original, question):
    legacy, prompting = original
    prompt = prompting.prompt(question)
    before, after = published_prompt(processor(), question)
    assert (list(prompt.before), list(prompt.after)) == (before, after)
    assert prompt.num_tokens == len(before) + len(after)
    assert list(prompting.chat_turn(question)) == published_turn(question, legacy=legacy)


def test_the_two_ways_of_a_turn_differ():
    assert published_turn("Why?", legacy=True) != published_turn("Why?", legacy=False)


def test_what_the_original_is_told_first_is_the_published_text(original):
    _, prompting = original
    before = processor().decode(list(prompting.prompt("Why?").before))
    assert before == f"{SYSTEM} USER: "
    assert [token for token in prompting.prompt("Why?").before if token < 3] == [1]  # one start, at the start
    assert [token for token in prompting.prompt("Why?").after if token < 3] == []


@pytest.mark.parametrize("marker", ["<image>", "</s>", "<s>", "<unk>"])
def test_the_originals_markers_are_refused_in_questions(original, marker):
    _, prompting = original
    for put in (prompting.prompt, prompting.chat_turn):
        with pytest.raises(BadQuestion, match=marker):
            put(f"Is {marker} there?")


def test_the_ports_marker_is_text_for_the_original(original):
    _, prompting = original
    assert list(prompting.prompt("<video>?").after) == published_prompt(processor(), "<video>?")[1]


@pytest.mark.parametrize("question", ["", " \n", "\ud800"])
def test_questions_that_are_no_text_are_refused(original, question):
    _, prompting = original
    for put in (prompting.prompt, prompting.chat_turn):
        with pytest.raises(BadQuestion):
            put(question)


@given(question=st.text(min_size=1, max_size=40))
@example(question="\u2581\u2581 \u2581")
@example(question="\r\n \x85\u2028")
def test_law_any_question_is_tokenised_as_sentencepiece_does(original, question):
    assume(question.strip() and not any(marker in question for marker in ("<image>", "</s>", "<s>", "<unk>")))
    legacy, prompting = original
    prompt = prompting.prompt(question)
    assert (list(prompt.before), list(prompt.after)) == published_prompt(processor(), question)
    assert list(prompting.chat_turn(question)) == published_turn(question, legacy=legacy)


def test_a_tokenizer_that_marks_no_start_is_refused(said):
    _, folder = said
    tokenizer = Checkpoint.open(folder).tokenizer(LlamaTokenizer, add_bos_token=False)
    prompting = family(OriginalVideoLlava, tokenizer)
    with pytest.raises(BadModelFolder):
        prompting.prompt("Why?")


def test_a_tokenizer_whose_end_mark_is_no_token_is_refused():
    tokenizer = build_tokenizer()
    tokenizer.eos_token_id = tokenizer.convert_tokens_to_ids("a")
    with pytest.raises(BadModelFolder, match="'a'"):
        family(VideoLlava, tokenizer, video_token_index=0).chat_turn("Why?")


def test_the_ports_turn_follows_the_answer_without_a_space():
    tokenizer = build_tokenizer()
    prompting = family(VideoLlava, tokenizer, video_token_index=tokenizer.convert_tokens_to_ids("<video>"))
    said = tokenizer.convert_ids_to_tokens(list(prompting.chat_turn("Why?")))
    assert said == ["</s>", *"USER:", "▁", *"Why?", "▁", *"ASSISTANT:"]


def test_the_ports_prompt_is_split_where_the_video_stands():
    tokenizer = build_tokenizer()
    marker = tokenizer.convert_tokens_to_ids("<video>")
    prompt = family(VideoLlava, tokenizer, video_token_index=marker).prompt("Why?")
    whole = tokenizer("USER: <video>\nWhy? ASSISTANT:")["input_ids"]
    assert [*prompt.before, marker, *prompt.after] == whole


def test_visual_tokens_stand_between_the_two_parts_of_a_prompt():
    embedding = torch.nn.Embedding(5, 3, dtype=torch.float64)
    visual = torch.randn(2, 3)
    embedded = embed_prompt(Prompt(before=(4, 0), after=(1,)), visual, embedding)
    weight = embedding.weight
    assert embedded.dtype is torch.float64
    assert embedded[0].equal(torch.cat([weight[[4, 0]], visual.double(), weight[[1]]]))


def test_sentencepiece_as_it_is_asked_here_works_as_llamas():
    own = processor()
    assert "".join(own.encode("seen", out_type=str)) == "▁seen"  # a space of its own before a text
    assert "".join(processor(dummy_prefix=False).encode("seen", out_type=str)) == "seen"
    assert own.encode("é", out_type=str) == ["▁", "<0xC3>", "<0xA9>"]  # bytes of what it does not know
    assert own.decode(own.encode("ﬁ  x")) == "ﬁ  x"  # nothing normalised, no space lost
    assert own.encode("</s>", out_type=str)[1:3] == ["<0x3C>", "<0x2F>"]  # marks are text to it
