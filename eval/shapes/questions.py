"""Questions about a scene, with their answers and the objects that show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Literal, get_args

from eval.shapes import evidence
from eval.shapes.random_stream import RandomStream
from eval.shapes.scene import COLOURS, DIRECTIONS, PLACES, SHAPES, Scene, SceneObject
from eval.shapes.scene_generation import MAX_COUNTED, QuestionTargets

Kind = Literal["colour", "shape", "count", "place", "direction", "order", "flash"]
KINDS: tuple[Kind, ...] = get_args(Kind)

NUMBERS = ("one", "two", "three", "four")[:MAX_COUNTED]

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
        form: variant of the kind: ``"lasting"`` or ``"flash"`` objects for an order; the ``"colour"`` or ``"shape"`` of
            a flash; a count of a ``"colour"`` or a ``"shape"``. Empty for other kinds.
        text: the question.
        answer: one or two words.
        about: the objects that show the answer.
        num_choices: number of answers that fit the question without the video.
    """

    kind: Kind
    form: str
    text: str
    answer: str
    about: tuple[SceneObject, ...]
    num_choices: int

    def seconds(self, scene: Scene) -> list[list[float]]:
        """Start and end, in seconds, of the objects that show the answer."""
        return [[round(o.first_frame / scene.fps, 4), round(o.end_frame / scene.fps, 4)] for o in self.about]

    def is_shown(self, scene: Scene, frames: Sequence[int], *, in_order: bool = True) -> bool:
        """Whether frames show the evidence, in their order or in an unknown order."""
        if self.kind == "order":
            return in_order and evidence.shows_order(scene, self.about[0], self.about[1], frames)
        if self.kind == "direction":
            return in_order and evidence.shows_motion(scene, self.about[0], frames)
        return all(evidence.first_seen(scene, one, frames) is not None for one in self.about)

    def ceiling(self, scene: Scene, frames: Sequence[int], *, in_order: bool = True) -> float:
        """The best expected accuracy: 1 if the frames show the evidence, else that of a guess."""
        if self.is_shown(scene, frames, in_order=in_order):
            return 1.0
        if self.kind == "direction" and self.is_shown(scene, frames):
            return 0.5  # frames in any order show the axis of motion
        return 1 / self.num_choices


def main_questions(rng: RandomStream, scene: Scene, targets: QuestionTargets) -> list[Question]:
    """Ask one question of each kind, in the order of :data:`KINDS`."""
    is_by_shape = rng.uniform() < 0.5
    flash = targets.flash_by_shape if is_by_shape else targets.flash_by_colour
    asked = {
        "colour": colour_question(rng, targets.by_shape),
        "shape": shape_question(rng, targets.by_colour),
        "count": count_question(rng, scene, *targets.counted),
        "place": place_question(rng, targets.placed),
        "direction": direction_question(rng, targets.moved),
        # Videos alternate between the two forms, with every seed.
        "order": order_question(rng, *(targets.late if scene.index % 2 else scene.flashes)),
        "flash": flash_question(rng, flash, "colour" if is_by_shape else "shape"),
    }
    return [asked[kind] for kind in KINDS]


def colour_question(rng: RandomStream, target: SceneObject) -> Question:
    """Ask for the colour of the only object of its shape."""
    return _question("colour", rng.choice(_COLOUR).format(shape=target.shape), target.colour, (target,), len(COLOURS))


def shape_question(rng: RandomStream, target: SceneObject) -> Question:
    """Ask for the shape of the only object of its colour."""
    return _question("shape", rng.choice(_SHAPE).format(colour=target.colour), target.shape, (target,), len(SHAPES))


def count_question(rng: RandomStream, scene: Scene, attribute: str, value: str) -> Question:
    """Ask how many objects have a colour or a shape."""
    objects = scene.with_attribute(attribute, value)
    templates, words = (_COUNT_COLOUR, value) if attribute == "colour" else (_COUNT_SHAPE, plural(value))
    text = rng.choice(templates).format(value=words)
    return _question("count", text, NUMBERS[len(objects) - 1], objects, len(NUMBERS), form=attribute)


def place_question(rng: RandomStream, target: SceneObject) -> Question:
    """Ask in which quarter of the frame a still object is."""
    return _question("place", rng.choice(_PLACE).format(name=target.name), target.place, (target,), len(PLACES))


def direction_question(rng: RandomStream, target: SceneObject) -> Question:
    """Ask in which direction an object moves."""
    text = rng.choice(_DIRECTION).format(name=target.name)
    return _question("direction", text, target.direction, (target,), len(DIRECTIONS))


def order_question(rng: RandomStream, earlier: SceneObject, later: SceneObject) -> Question:
    """Ask which of two objects appears first; both last, or both flash."""
    names = [earlier.name, later.name]
    rng.shuffle(names)
    is_flash = earlier.role == "flash"
    text = rng.choice(_ORDER_FLASH if is_flash else _ORDER).format(a=names[0], b=names[1])
    return _question("order", text, earlier.name, (earlier, later), 2, form="flash" if is_flash else "lasting")


def flash_question(rng: RandomStream, target: SceneObject, asked: Literal["colour", "shape"]) -> Question:
    """Ask for the colour of a flash whose shape is unique, or for the shape of one whose colour is unique."""
    if asked == "colour":
        text, answer, choices = rng.choice(_FLASH_COLOUR), target.colour, len(COLOURS)
    else:
        text, answer, choices = rng.choice(_FLASH_SHAPE), target.shape, len(SHAPES)
    return _question(
        "flash", text.format(shape=target.shape, colour=target.colour), answer, (target,), choices, form=asked
    )


def vocabulary() -> list[str]:
    """List the words of questions and answers, in lower case, sorted."""
    literals = " ".join(literal for text in _TEMPLATES for literal, *_ in Formatter().parse(text))
    words = literals.replace("?", " ").replace(",", " ").lower().split()
    places = (word for place in PLACES for word in place.split())
    return sorted({*words, *COLOURS, *SHAPES, *map(plural, SHAPES), *NUMBERS, *DIRECTIONS, *places})


def plural(shape: str) -> str:
    """Form the plural of a shape."""
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def _question(
    kind: Kind, text: str, answer: str, about: tuple[SceneObject, ...], num_choices: int, *, form: str = ""
) -> Question:
    return Question(kind=kind, form=form, text=text, answer=answer, about=about, num_choices=num_choices)
