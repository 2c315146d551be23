"""Questions about a scene, in words, with their answers and the moments that show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Literal, get_args

from eval.shapes import evidence
from eval.shapes.making import MOST_COUNTED, Roles
from eval.shapes.randomness import Draws
from eval.shapes.scene import COLOURS, DIRECTIONS, PLACES, SHAPES, Scene, Thing

Kind = Literal["colour", "shape", "count", "place", "direction", "order", "flash"]
KINDS: tuple[Kind, ...] = get_args(Kind)

NUMBERS = ("one", "two", "three", "four")[:MOST_COUNTED]

_COLOUR = ("What color is the {shape}?", "What is the color of the {shape}?")
_SHAPE = ("What shape is the {colour} object?", "Which shape is {colour}?")
_COUNT_COLOUR = ("How many {value} objects are there?", "How many objects are {value}?")
_COUNT_SHAPE = ("How many {value} are there?", "How many {value} can you see?")
_PLACE = ("Where is the {name}?", "In which corner is the {name}?")
_DIRECTION = ("Which way does the {name} move?", "In which direction does the {name} move?")
_ORDER = ("Which appears first, the {a} or the {b}?", "Which comes first, the {a} or the {b}?")
_ORDER_FLASH = ("Which flashes first, the {a} or the {b}?", "Which comes first, the flash of the {a} or the {b}?")
_FLASH_COLOUR = ("What color is the {shape} that flashes?", "What is the color of the flashing {shape}?")
_FLASH_SHAPE = ("What shape is the {colour} object that flashes?", "Which shape flashes in {colour}?")


_TEMPLATES = (
    *_COLOUR, *_SHAPE, *_COUNT_COLOUR, *_COUNT_SHAPE, *_PLACE, *_DIRECTION, *_ORDER, *_ORDER_FLASH,
    *_FLASH_COLOUR, *_FLASH_SHAPE,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about a scene.

    Attributes:
        kind: one of :data:`KINDS`.
        form: how the kind is asked: an order is ``"lasting"`` or ``"flash"``; what flashes is asked for its
            ``"colour"`` or ``"shape"``; a count is of a ``"colour"`` or a ``"shape"``. Empty for other kinds.
        text: the question.
        answer: one or two words.
        about: the things that show the answer.
        num_choices: answers that fit the question, for one who has not seen the video.
    """

    kind: Kind
    form: str
    text: str
    answer: str
    about: tuple[Thing, ...]
    num_choices: int

    def seconds(self, scene: Scene) -> list[list[float]]:
        """From when to when, in seconds, the things that show the answer are there."""
        return [[round(t.first_frame / scene.fps, 4), round(t.end_frame / scene.fps, 4)] for t in self.about]

    def is_shown(self, scene: Scene, frames: Sequence[int], *, in_order: bool = True) -> bool:
        """Whether frames hold the evidence, looked at in their order, or in an order that nobody knows."""
        if self.kind == "order":
            return in_order and evidence.shows_order(scene, self.about[0], self.about[1], frames)
        if self.kind == "direction":
            return in_order and evidence.shows_motion(scene, self.about[0], frames)
        return all(evidence.first_seen(scene, thing, frames) is not None for thing in self.about)

    def ceiling(self, scene: Scene, frames: Sequence[int], *, in_order: bool = True) -> float:
        """Chance of being right for one who knows all that the frames show, and guesses what they leave open."""
        if self.is_shown(scene, frames, in_order=in_order):
            return 1.0
        if self.kind == "direction" and self.is_shown(scene, frames):
            return 0.5  # frames in any order show along which axis it moves
        return 1 / self.num_choices


def main_questions(draws: Draws, scene: Scene, roles: Roles) -> list[Question]:
    """Ask one question of each kind, in the order of :data:`KINDS`."""
    is_by_shape = draws.uniform() < 0.5
    flash = roles.flash_by_shape if is_by_shape else roles.flash_by_colour
    asked = {
        "colour": colour_question(draws, roles.by_shape),
        "shape": shape_question(draws, roles.by_colour),
        "count": count_question(draws, scene, *roles.counted),
        "place": place_question(draws, roles.placed),
        "direction": direction_question(draws, roles.moved),
        # Half in each form, whatever the seed: videos take turns.
        "order": order_question(draws, *(roles.late if scene.index % 2 else scene.flashes)),
        "flash": flash_question(draws, flash, "colour" if is_by_shape else "shape"),
    }
    return [asked[kind] for kind in KINDS]


def colour_question(draws: Draws, thing: Thing) -> Question:
    """Ask for the colour of the only thing of its shape."""
    return _question("colour", draws.choice(_COLOUR).format(shape=thing.shape), thing.colour, (thing,), len(COLOURS))


def shape_question(draws: Draws, thing: Thing) -> Question:
    """Ask for the shape of the only thing of its colour."""
    return _question("shape", draws.choice(_SHAPE).format(colour=thing.colour), thing.shape, (thing,), len(SHAPES))


def count_question(draws: Draws, scene: Scene, attribute: str, value: str) -> Question:
    """Ask how many things have a colour or a shape."""
    things = scene.having(attribute, value)
    templates, words = (_COUNT_COLOUR, value) if attribute == "colour" else (_COUNT_SHAPE, plural(value))
    text = draws.choice(templates).format(value=words)
    return _question("count", text, NUMBERS[len(things) - 1], things, len(NUMBERS), form=attribute)


def place_question(draws: Draws, thing: Thing) -> Question:
    """Ask in which quarter of the picture a still thing is."""
    return _question("place", draws.choice(_PLACE).format(name=thing.name), thing.place, (thing,), len(PLACES))


def direction_question(draws: Draws, thing: Thing) -> Question:
    """Ask which way a thing moves."""
    text = draws.choice(_DIRECTION).format(name=thing.name)
    return _question("direction", text, thing.direction, (thing,), len(DIRECTIONS))


def order_question(draws: Draws, earlier: Thing, later: Thing) -> Question:
    """Ask which of two things comes first; both last, or both flash."""
    names = [earlier.name, later.name]
    draws.shuffle(names)
    is_flash = earlier.role == "flash"
    text = draws.choice(_ORDER_FLASH if is_flash else _ORDER).format(a=names[0], b=names[1])
    return _question("order", text, earlier.name, (earlier, later), 2, form="flash" if is_flash else "lasting")


def flash_question(draws: Draws, thing: Thing, asked: Literal["colour", "shape"]) -> Question:
    """Ask for the colour of the only thing of its shape, or for the shape of the only one of its colour, that flashes."""
    if asked == "colour":
        text, answer, choices = draws.choice(_FLASH_COLOUR), thing.colour, len(COLOURS)
    else:
        text, answer, choices = draws.choice(_FLASH_SHAPE), thing.shape, len(SHAPES)
    return _question(
        "flash", text.format(shape=thing.shape, colour=thing.colour), answer, (thing,), choices, form=asked
    )


def vocabulary() -> list[str]:
    """All words of questions and answers, in lower case, sorted."""
    literals = " ".join(literal for text in _TEMPLATES for literal, *_ in Formatter().parse(text))
    words = literals.replace("?", " ").replace(",", " ").lower().split()
    places = (word for place in PLACES for word in place.split())
    return sorted({*words, *COLOURS, *SHAPES, *map(plural, SHAPES), *NUMBERS, *DIRECTIONS, *places})


def plural(shape: str) -> str:
    """Form a shape's plural."""
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def _question(
    kind: Kind, text: str, answer: str, about: tuple[Thing, ...], num_choices: int, *, form: str = ""
) -> Question:
    return Question(kind=kind, form=form, text=text, answer=answer, about=about, num_choices=num_choices)
