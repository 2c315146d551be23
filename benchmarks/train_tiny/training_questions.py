"""Training questions: questions of every kind that some frames of a clip can answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, islice

from eval.shapes import Clip, Question
from eval.shapes import questions as ask
from eval.shapes.questions import KINDS, NUMBERS
from eval.shapes.random_stream import RandomStream

MAX_PER_KIND = 2
MAX_COUNT_QUESTIONS = 4
"""Questions per video of each kind, and of kind ``count``, which is the hardest to learn."""

_COUNT_PROBABILITY = (0.15, 0.5, 1.0, 1.0)
"""Probability of asking for a count of 1, 2, 3, 4; low counts are frequent and would become the default answer."""

_FIRST_FRAME_PROBABILITY = 0.2
"""Probability of asking for the order of two objects if one is there from the start, which is easy."""


def training_questions(draws: RandomStream, clip: Clip, frames: Sequence[int]) -> list[Question]:
    """Draw questions of each kind that the frames can answer, in random order."""
    chosen: list[Question] = []
    for kind, pool in _all_questions(draws, clip).items():
        draws.shuffle(pool)
        answerable = (question for question in pool if question.is_shown(clip.scene, frames))
        chosen += islice(answerable, MAX_COUNT_QUESTIONS if kind == "count" else MAX_PER_KIND)
    draws.shuffle(chosen)
    return chosen


def _all_questions(draws: RandomStream, clip: Clip) -> dict[str, list[Question]]:
    scene = clip.scene
    by_colour = Counter(thing.colour for thing in scene.objects)
    by_shape = Counter(thing.shape for thing in scene.objects)
    flashing = {value for thing in scene.flashes for value in (thing.colour, thing.shape)}
    unique_shapes = [thing for thing in scene.objects if by_shape[thing.shape] == 1]
    unique_colours = [thing for thing in scene.objects if by_colour[thing.colour] == 1]
    lasting = set(scene.lasting)
    totals = [("colour", *total) for total in by_colour.items()] + [("shape", *total) for total in by_shape.items()]
    pairs = [sorted(pair, key=lambda thing: thing.first_frame) for pair in combinations(scene.lasting, 2)]
    ordered = [pair for pair in pairs if pair[0].first_frame > 0 or draws.uniform() < _FIRST_FRAME_PROBABILITY]
    ordered.append(list(scene.flashes))
    questions = {
        "colour": [ask.colour_question(draws, thing) for thing in unique_shapes if thing in lasting],
        "shape": [ask.shape_question(draws, thing) for thing in unique_colours if thing in lasting],
        "count": [
            ask.count_question(draws, scene, attribute, value)
            for attribute, value, total in totals
            if value not in flashing and total <= len(NUMBERS) and draws.uniform() < _COUNT_PROBABILITY[total - 1]
        ],
        "place": [ask.place_question(draws, thing) for thing in scene.lasting if thing.role == "still"],
        "direction": [ask.direction_question(draws, thing) for thing in scene.lasting if thing.role == "mover"],
        "order": [ask.order_question(draws, *pair) for pair in ordered if pair[0].first_frame < pair[1].first_frame],
        "flash": [
            *(ask.flash_question(draws, thing, "colour") for thing in unique_shapes if thing not in lasting),
            *(ask.flash_question(draws, thing, "shape") for thing in unique_colours if thing not in lasting),
        ],
    }
    return {kind: questions[kind] for kind in KINDS}
