from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from scenes import scene, scene_object

from eval.shapes import KINDS
from eval.shapes.questions import (
    NUMBERS,
    colour_question,
    count_question,
    direction_question,
    flash_question,
    order_question,
    place_question,
    plural,
    shape_question,
)
from eval.shapes.random_stream import RandomStream
from eval.shapes.scene import COLOURS, DIRECTIONS, PLACES, SHAPES

STILL = scene_object("red circle", start=(0.75, 0.25), first_frame=20)
MOVER = scene_object("blue circle", role="mover", start=(0.2, 0.8), end=(0.8, 0.8))
EARLY_FLASH = scene_object("green star", role="flash", start=(0.25, 0.25), first_frame=17, end_frame=21)
LATE_FLASH = scene_object("black ring", role="flash", start=(0.25, 0.25), first_frame=50, end_frame=55)
SHOWN = scene(STILL, MOVER, EARLY_FLASH, LATE_FLASH)


@pytest.mark.parametrize(
    ("question", "words", "answer", "choices", "seconds"),
    [
        (colour_question(RandomStream(0), EARLY_FLASH), ["star", "color"], "green", 8, [[1.7, 2.1]]),
        (shape_question(RandomStream(0), STILL), ["red", "shape"], "circle", 6, [[2.0, 8.0]]),
        (count_question(RandomStream(0), SHOWN, "shape", "circle"), ["circles"], "two", 4, [[2.0, 8.0], [0.0, 8.0]]),
        (count_question(RandomStream(0), SHOWN, "colour", "red"), ["red", "objects"], "one", 4, [[2.0, 8.0]]),
        (place_question(RandomStream(0), STILL), ["red circle"], "top right", 4, [[2.0, 8.0]]),
        (direction_question(RandomStream(0), MOVER), ["blue circle"], "right", 4, [[0.0, 8.0]]),
        (
            order_question(RandomStream(0), MOVER, STILL),
            ["first", "blue", "red"],
            "blue circle",
            2,
            [[0.0, 8.0], [2.0, 8.0]],
        ),
        (
            order_question(RandomStream(0), EARLY_FLASH, LATE_FLASH),
            ["first", "flash", "green star", "black ring"],
            "green star",
            2,
            [[1.7, 2.1], [5.0, 5.5]],
        ),
        (flash_question(RandomStream(0), LATE_FLASH, "colour"), ["flash", "ring"], "black", 8, [[5.0, 5.5]]),
        (flash_question(RandomStream(0), LATE_FLASH, "shape"), ["flash", "black"], "ring", 6, [[5.0, 5.5]]),
    ],
)
def test_questions_by_hand(question, words, answer, choices, seconds):
    assert all(word in question.text for word in words)
    assert question.text.endswith("?")
    assert (question.answer, question.num_choices, question.seconds(SHOWN)) == (answer, choices, seconds)


def test_plurals():
    assert [plural(shape) for shape in SHAPES] == ["circles", "squares", "triangles", "stars", "crosses", "rings"]


@pytest.mark.parametrize(
    ("question", "frames", "in_order", "out_of_order"),
    [
        (flash_question(RandomStream(0), LATE_FLASH, "shape"), [0, 52], True, True),
        (flash_question(RandomStream(0), LATE_FLASH, "shape"), [0, 49, 55], False, False),
        (count_question(RandomStream(0), SHOWN, "shape", "circle"), [0, 20], True, True),
        (count_question(RandomStream(0), SHOWN, "shape", "circle"), [0, 19], False, False),
        (direction_question(RandomStream(0), MOVER), [0, 79], True, False),
        (direction_question(RandomStream(0), MOVER), [0], False, False),
        (order_question(RandomStream(0), EARLY_FLASH, LATE_FLASH), [18, 52], True, False),
        (order_question(RandomStream(0), EARLY_FLASH, LATE_FLASH), [52], False, False),
    ],
)
def test_which_frames_show_the_evidence(question, frames, in_order, out_of_order):
    assert question.is_shown(SHOWN, frames) == in_order
    assert question.is_shown(SHOWN, frames, in_order=False) == out_of_order


def test_one_question_of_each_kind_with_a_short_answer(some):
    known = {"color": COLOURS, "shape": SHAPES, "number": NUMBERS, "place": PLACES, "direction": DIRECTIONS}
    single = {word for words in known.values() for word in words}
    pairs = {f"{colour} {shape}" for colour in COLOURS for shape in SHAPES}
    for clip in some:
        assert tuple(question.kind for question in clip.questions) == KINDS
        for question in clip.questions:
            assert question.answer in (pairs if question.kind == "order" else single)
            assert 1 <= len(question.answer.split()) <= 2
            assert (question.kind == "order") == (question.answer in question.text)


def test_answers_follow_from_the_scene(some):
    """Answer every question again, from its text and the scene only."""
    forms = Counter()
    for clip in some:
        asked = {question.kind: question for question in clip.questions}
        objects = clip.scene.objects
        words = {kind: set(question.text.rstrip("?").replace(",", "").split()) for kind, question in asked.items()}

        def the(kind, attribute, words=words, objects=objects):
            (found,) = [one for one in objects if getattr(one, attribute) in words[kind]]
            return found

        def named(kind, asked=asked, objects=objects):
            return [one for one in objects if one.name in asked[kind].text]

        assert asked["colour"].answer == the("colour", "shape").colour
        assert asked["shape"].answer == the("shape", "colour").shape
        flash = asked["flash"]
        other = "shape" if flash.form == "colour" else "colour"
        assert the("flash", other).role == "flash"
        assert flash.answer == getattr(the("flash", other), flash.form)

        count = asked["count"]
        counted = [
            one for one in objects if (one.colour if count.form == "colour" else plural(one.shape)) in words["count"]
        ]
        assert count.answer == NUMBERS[len(counted) - 1]
        assert not any(one.role == "flash" for one in counted)

        (placed,) = named("place")
        assert (placed.role, placed.place) == ("still", asked["place"].answer)
        assert all((x < 0.5, y < 0.5) == ("left" in placed.place, "top" in placed.place)
                   for x, y in (placed.start, placed.end))  # fmt: skip
        (moved,) = named("direction")
        assert (moved.role, moved.direction) == ("mover", asked["direction"].answer)

        first, second = sorted(named("order"), key=lambda one: one.first_frame)
        assert first.first_frame < second.first_frame
        assert asked["order"].answer == first.name
        assert asked["order"].about == (first, second)
        assert {first.role == "flash", second.role == "flash"} == {asked["order"].form == "flash"}
        assert ("flash" in asked["order"].text) <= (asked["order"].form == "flash")
        forms[asked["order"].form] += 1
    assert forms == {"lasting": 75, "flash": 75}


def test_answers_are_balanced(many):
    counts: defaultdict[tuple[str, str, int], Counter[str]] = defaultdict(Counter)
    for clip in many:
        for question in clip.questions:
            answer = question.answer
            if question.kind == "order":  # count which of the two the text names first
                other = question.about[1].name
                answer = "the former" if question.text.index(answer) < question.text.index(other) else "the latter"
            form = "" if question.kind == "order" else question.form
            counts[question.kind, form, question.num_choices][answer] += 1
    assert {kind for kind, _, _ in counts} == set(KINDS)
    for (_kind, _form, choices), answers in counts.items():
        assert len(answers) == choices
        assert all(abs(number / answers.total() - 1 / choices) < 0.06 for number in answers.values()), answers
