"""Questions to practise on: all that can be asked about some frames of a video and answered from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, islice

from eval.shapes import Clip, Question
from eval.shapes import questions as ask
from eval.shapes.questions import KINDS, NUMBERS
from eval.shapes.randomness import Draws

PER_KIND = 2
MOST_COUNTS = 4
"""Questions of a kind, and of them counts, asked of a video at once, at most: counting is the hardest to learn."""

_RARER = (0.15, 0.5, 1.0, 1.0)
"""Chances of asking for a count of 1, 2, 3, 4: low counts are everywhere, and would be learnt as the answer."""

_FROM_THE_START = 0.2
"""Chance of asking for the order of two things of which one is there from the start, which is easily said."""


def practice_questions(draws: Draws, clip: Clip, frames: Sequence[int]) -> list[Question]:
    """Ask some questions of each kind that the frames can answer, in random order."""
    chosen: list[Question] = []
    for kind, pool in _all_questions(draws, clip).items():
        draws.shuffle(pool)
        answerable = (question for question in pool if question.is_shown(clip.scene, frames))
        chosen += islice(answerable, MOST_COUNTS if kind == "count" else PER_KIND)
    draws.shuffle(chosen)
    return chosen


def _all_questions(draws: Draws, clip: Clip) -> dict[str, list[Question]]:
    scene = clip.scene
    by_colour = Counter(thing.colour for thing in scene.things)
    by_shape = Counter(thing.shape for thing in scene.things)
    flashing = {value for thing in scene.flashes for value in (thing.colour, thing.shape)}
    single_shapes = [thing for thing in scene.things if by_shape[thing.shape] == 1]
    single_colours = [thing for thing in scene.things if by_colour[thing.colour] == 1]
    lasting = set(scene.lasting)
    totals = [("colour", *total) for total in by_colour.items()] + [("shape", *total) for total in by_shape.items()]
    pairs = [sorted(pair, key=lambda thing: thing.first_frame) for pair in combinations(scene.lasting, 2)]
    in_turn = [pair for pair in pairs if pair[0].first_frame > 0 or draws.uniform() < _FROM_THE_START]
    in_turn.append(list(scene.flashes))
    asked = {
        "colour": [ask.colour_question(draws, thing) for thing in single_shapes if thing in lasting],
        "shape": [ask.shape_question(draws, thing) for thing in single_colours if thing in lasting],
        "count": [
            ask.count_question(draws, scene, attribute, value)
            for attribute, value, total in totals
            if value not in flashing and total <= len(NUMBERS) and draws.uniform() < _RARER[total - 1]
        ],
        "place": [ask.place_question(draws, thing) for thing in scene.lasting if thing.role == "still"],
        "direction": [ask.direction_question(draws, thing) for thing in scene.lasting if thing.role == "mover"],
        "order": [ask.order_question(draws, *pair) for pair in in_turn if pair[0].first_frame < pair[1].first_frame],
        "flash": [
            *(ask.flash_question(draws, thing, "colour") for thing in single_shapes if thing not in lasting),
            *(ask.flash_question(draws, thing, "shape") for thing in single_colours if thing not in lasting),
        ],
    }
    return {kind: asked[kind] for kind in KINDS}
