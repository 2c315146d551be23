"""The built-in checkpoint answers questions about validation videos, which are in neither training nor test split."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from eval.metrics import exact_match
from eval.shapes import make_clip
from vidzip import Budget, load, plan
from vidzip.models import BUILT_IN
from vidzip.models.language import LanguageModel
from vidzip.video.writing import write

CLIPS = 5
KINDS = ("colour", "shape", "flash")


@pytest.fixture(scope="module")
def model():
    return load("tiny", device="cpu")


@pytest.fixture(scope="module")
def right(model, tmp_path_factory):
    """Number of right answers by kind, from 8 uncompressed frames and from 34 packed ones."""
    folder = tmp_path_factory.mktemp("validation")
    full, packed = Counter(), Counter()
    short = (
        clip for clip in (make_clip("validation", 11, index) for index in range(60)) if clip.scene.num_frames < 150
    )
    for clip in islice(short, CLIPS):
        file = str(folder / f"{clip.name}.mp4")
        write(file, clip.renderer.render_all(), clip.scene.fps, preset="ultrafast", reproducible=True)
        whole = model.pack(file, plan(file, Budget(total_tokens=8 * 257, num_frames=8), 257))
        few = model.pack(file, plan(file, Budget(num_frames=34)))
        questions = [question for question in clip.questions if question.kind in KINDS]
        for seen, count in ((whole, full), (few, packed)):
            answers = model.ask_many(seen, [question.text for question in questions], max_new_tokens=4)
            for question, answer in zip(questions, answers, strict=True):
                count[question.kind] += exact_match(answer.text, question.answer).value == 1
    return full, packed


def test_it_is_small_and_has_a_model_card(model):
    assert sum(file.stat().st_size for file in BUILT_IN["tiny"].iterdir()) <= 12e6
    card = (BUILT_IN["tiny"] / "README.md").read_text(encoding="utf-8")
    assert "Limitations" in card
    assert model.tokens_per_frame == 257
    assert model.config.vision_config.image_size == 224


def test_it_names_colours_and_shapes(right):
    full, packed = right
    for kind in ("colour", "shape"):
        assert full[kind] >= 0.75 * CLIPS  # chance is an eighth, and a sixth
        assert packed[kind] >= 0.75 * CLIPS


def test_it_sees_flashes_in_packed_frames_only(right):
    full, packed = right
    assert packed["flash"] >= 0.5 * CLIPS
    assert full["flash"] <= 0.4 * CLIPS


def test_it_knows_every_word_of_the_set(model):
    assert model.language.unknown_words("Which way does the red circle move?") == ()
    assert model.language.unknown_words("Does the red dog bark at a Dog or a dog?") == ("dog", "bark", "at", "a", "Dog")


def test_punctuation_is_no_unknown_word(model):
    assert model.language.unknown_words("Where is the red star?! It's there.") == ("It", "s")


def test_a_tokenizer_that_cannot_say_where_a_token_stands_is_not_asked(model):
    class Slow:
        is_fast = False
        unk_token_id = 0

    assert LanguageModel(name="slow", family=replace(model.family, tokenizer=Slow())).unknown_words("dog") == ()
