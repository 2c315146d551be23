"""The second stage: projector and language model learn to answer from the frozen tower's features.

Several questions of a video stand in one sequence: each sees the video and itself, and none of the others, at the
positions it would have alone. So the video is paid for once, and what is learnt is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from benchmarks.train_tiny.auxiliary_loss import TOLD, UNTOLD, Hindsight, Readouts, hindsight_loss
from benchmarks.train_tiny.muon import matrices_of
from benchmarks.train_tiny.runs import Run, Stage
from benchmarks.train_tiny.training_frames import PATCHES, Lesson
from benchmarks.train_tiny.training_questions import practice_questions
from eval.shapes import Question
from eval.shapes.randomness import Draws
from pipelines.terminal import Progress
from vidzip.models.prompting import prompt_ids

STAGE = "language"
PEAK = 7e-4
WARM_UP = 200

FRAME_TOKENS = 1 + PATCHES**2
"""CLS and patches."""

WHOLE_FRAMES = 8
"""Frames of a full-length sample, with all their patches."""

_PICTURES_UNTIL, _PICTURE_TOKENS = 0.08, (64, FRAME_TOKENS)
"""Until which share of the steps samples are of one frame or two, and of how many tokens: pictures come before
videos, as in Video-LLaVA's own training."""

_CLOSE_SHARE, _CLOSE_FRAMES, _CLOSE_TOKENS = 0.25, 3, (FRAME_TOKENS // 2, 3 * FRAME_TOKENS)
"""How often after that samples are of few frames with most of their patches: nothing is missing that counts."""

_WHOLE_FROM, _WHOLE_SHARE = 0.6, 0.3
"""From which share of the steps on, and how often then, samples are of full length."""

_SAMPLES = ((0.4, (16, 200, 400)), (1.0, (32, 512, 1200)))
"""Until which share of the steps samples under patch dropout are of how many visual tokens, from and to; every eighth
step may go up to the last number. Short samples come first: they leave room for more questions a step, and what is
there is soon learnt. But most things are then missing from most frames: what moves, how many there are and what came
first is learnt from longer ones."""

_TOGETHER_SHARE, _MOST_TOGETHER = 0.35, 8.0
"""How often kept patches lie together rather than anywhere, and how much, in random numbers a side of the frame."""

_TOKENS, _QUESTION_TOKENS, _MOST_VIDEOS = 3000, 230, 16
"""Tokens a step, about; what a video's questions take of them; videos a step at most."""

_HINDSIGHT_WEIGHT = 0.5

_LOG_STEPS = 50
_STREAM = 78
"""Sets this module's draws apart from those that make the scene or film it."""


def train_language(
    run: Run,
    model: Any,
    tokenizer: Any,
    lessons: Sequence[Lesson],
    *,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train projector and language model on questions about filmed videos, or go on with it."""
    steps, seed = run.recipe.language_steps, run.recipe.seed
    model.to(device).train()
    torch.manual_seed(seed)
    readouts = Readouts(model.config.text_config.hidden_size).to(device)
    modules = {**language_modules(model), "readouts": readouts}
    matrices = matrices_of(model.model.multi_modal_projector, model.model.language_model.layers)
    stage = Stage(run, STAGE, modules, steps=steps, peak=PEAK, warm_up=WARM_UP, matrices=matrices)
    hindsight = Hindsight()
    curves = _Curves()
    for step in stage.steps("train the language model", progress):
        draws = Draws(seed, _STREAM, step)
        sizes = _sizes(draws, step / steps)
        chosen = [draws.choice(lessons) for _ in range(sizes.videos)]
        batch = _sequences(draws, model, tokenizer, chosen, sizes=sizes, hindsight=hindsight)
        if batch is None:
            continue
        output = answer_questions(model, batch.to(device))
        loss = F.cross_entropy(output.logits, output.targets)
        dense, told = hindsight_loss(readouts, output.states, output.told)
        stage.learn(loss + _HINDSIGHT_WEIGHT * dense)
        curves.add({"loss": loss.item(), "hindsight loss": dense.item(), **told})
        for kind, is_right in output.right():
            curves.add({f"{kind} right": float(is_right)})
        if (step + 1) % _LOG_STEPS == 0:
            run.log(STAGE, step + 1, curves.means())
    model.eval()


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """How many videos a step takes, and tokens and frames of each, at most."""

    videos: int
    tokens: int
    frames: int | None


def _sizes(draws: Draws, share: float) -> _Sizes:
    """Draw the sizes of a step, by the share of the steps that are done."""
    frames = None
    is_whole = share >= _WHOLE_FROM and draws.uniform() < _WHOLE_SHARE
    fewest, usual, rare = next(sizes for until, sizes in _SAMPLES if share < until)
    most = rare if draws.uniform() < 0.125 else usual
    tokens = math.exp(draws.uniform(math.log(fewest), math.log(most)))
    if share < _PICTURES_UNTIL:
        tokens, frames = draws.uniform(*_PICTURE_TOKENS), 2
    elif draws.uniform() < _CLOSE_SHARE:
        tokens, frames = draws.uniform(*_CLOSE_TOKENS), _CLOSE_FRAMES
    if is_whole:
        tokens, frames = WHOLE_FRAMES * FRAME_TOKENS, None
    videos = max(2, min(_MOST_VIDEOS, int(_TOKENS / (tokens + _QUESTION_TOKENS))))
    return _Sizes(videos=videos, tokens=int(tokens), frames=frames)


class _Curves:
    """Values by name, averaged from one row of the curves to the next."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        """Take the means, and forget the values."""
        means = {name: sum(values) / len(values) for name, values in sorted(self._values.items())}
        self._values.clear()
        return means


def language_modules(model: Any) -> dict[str, nn.Module]:
    """Name what this stage trains: all of the model but its towers."""
    core = model.model
    return {"projector": core.multi_modal_projector, "language": core.language_model, "head": model.lm_head}


def _sequences(
    draws: Draws,
    model: Any,
    tokenizer: Any,
    lessons: Sequence[Lesson],
    *,
    sizes: _Sizes,
    hindsight: Hindsight,
) -> Sequences | None:
    """Show videos in tokens and frames of a size, and ask what can be answered from the frames."""
    shown: list[Shown] = []
    told: list[Tensor] = []
    asked: list[list[Asked]] = []
    prefix: list[int] = []
    for lesson in lessons:
        seen = show(draws, np.load(lesson.features, mmap_mode="r"), sizes.tokens, sizes.frames)
        questions = practice_questions(draws, lesson.shot.clip, [lesson.shot.frames[i] for i in seen.frames])
        if questions:
            pairs = [tokenise(tokenizer, model.config.video_token_index, question) for question in questions]
            prefix = pairs[0][0]
            shown.append(seen)
            told.append(hindsight.of(lesson, seen.frames, seen.slots))
            asked.append([one for _, one in pairs])
    return join(prefix, [seen.visual for seen in shown], asked, tokenizer.pad_token_id, told) if shown else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """What of a video is shown: F frames, k tokens of each.

    Attributes:
        visual: the tokens, (F * k, D).
        frames: which frames, (F,).
        slots: which tokens of each, (F, k): 0 for CLS, 1 + its number for a patch.
    """

    visual: Float[Tensor, "tokens width"]
    frames: list[int]
    slots: Int[np.ndarray, "frames kept"]


def show(
    draws: Draws, features: Float[np.ndarray, "frames patches width"], tokens: int, most_frames: int | None = None
) -> Shown:
    """Take some frames of a video and some patches of each, CLS always.

    Args:
        draws: what is left out is drawn at random.
        features: (F, 1 + patches, D).
        tokens: to take, at most.
        most_frames: frames to take, at most; all when left out.
    """
    count, size, width = features.shape
    if tokens >= WHOLE_FRAMES * size:
        numbers = [int((i + 0.5) * count / WHOLE_FRAMES) for i in range(WHOLE_FRAMES)]
        numbers = list(dict.fromkeys(numbers))
    else:
        numbers = list(range(count))
        if count > 1 and draws.uniform() < 0.4:
            numbers = sorted(draws.sample(numbers, draws.between(min(2, count), count)))
        if most_frames is not None:
            numbers = sorted(draws.sample(numbers, draws.between(1, most_frames)))
        while len(numbers) > tokens:
            numbers = numbers[::2]
    keep = min(size - 1, tokens // len(numbers) - 1)
    scores = _scores(draws, len(numbers), size - 1)
    patches = np.sort(np.argsort(scores, axis=1, kind="stable")[:, :keep], axis=1) + 1
    slots = np.concatenate([np.zeros((len(numbers), 1), dtype=patches.dtype), patches], axis=1)
    frames = np.take_along_axis(np.asarray(features[numbers], dtype=np.float32), slots[..., None], axis=1)
    return Shown(visual=torch.from_numpy(frames.reshape(-1, width)), frames=numbers, slots=slots)


def _scores(draws: Draws, frames: int, patches: int) -> Float[np.ndarray, "frames patches"]:
    """Draw a number for each patch: those with the least are kept.

    For some videos they grow, more or less, with the distance from a point of each frame, so that what is kept
    lies together: how many patches show a thing then says nothing of how many things there are.
    """
    scores = draws.bytes(frames, patches, 4).view("<u4")[..., 0] / 2.0**32
    if draws.uniform() < _TOGETHER_SHARE:
        side = math.isqrt(patches)
        points = np.array([[draws.uniform(0, side), draws.uniform(0, side)] for _ in range(frames)])
        middles = np.stack(np.divmod(np.arange(patches), side), axis=-1) + 0.5
        distance = np.linalg.norm(middles - points[:, None], axis=-1) / side
        scores = scores + draws.uniform(0, _MOST_TOGETHER) * distance
    return scores


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question in tokens: the prompt after the video, and the answer with its end marker."""

    kind: str
    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """Videos with their questions, ready for the language model; B videos, V visual slots, L tokens in all.

    Attributes:
        prefix: the prompt before the video, the same for all.
        visual: the tower's tokens, (B, V, D); what lies past a video's own number is padding.
        ids: the tokens after the videos, (B, L - P - V), of all questions one after the other.
        positions: (B, L).
        mask: whether a token sees another, (B, 1, L, L).
        targets: the token that comes next where that is part of an answer, else -100, (B, L - P - V).
        told: what the visual tokens can tell, (B, V, 5), as :class:`Hindsight` says it.
        asked: the questions, in the order in which their answers stand in ``targets``.
    """

    prefix: list[int]
    visual: Float[Tensor, "videos slots width"]
    ids: Int[Tensor, "videos after"]
    positions: Int[Tensor, "videos length"]
    mask: Bool[Tensor, "videos 1 length length"]
    targets: Int[Tensor, "videos after"]
    told: Int[Tensor, "videos slots told"]
    asked: tuple[Asked, ...]

    def to(self, device: torch.device) -> Sequences:
        """Move it to a device."""
        tensors = ("visual", "ids", "positions", "mask", "targets", "told")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


def tokenise(tokenizer: Any, video_token_id: int, question: Question) -> tuple[list[int], Asked]:
    """Split a prompt at its video marker; also return what comes before it."""
    ids = prompt_ids(tokenizer, question.text, video_token_id)
    at = ids.index(video_token_id)
    words = tokenizer(question.answer, add_special_tokens=False)["input_ids"]
    return ids[:at], Asked(kind=question.kind, prompt=ids[at + 1 :], answer=[*words, tokenizer.eos_token_id])


def join(
    prefix: list[int],
    visual: Sequence[Float[Tensor, "tokens width"]],
    asked: Sequence[Sequence[Asked]],
    pad: int,
    told: Sequence[Int[Tensor, "tokens told"]] | None = None,
) -> Sequences:
    """Lay videos with their questions out as sequences; where it is not said what tokens tell, they tell nothing."""
    if told is None:
        told = [torch.full((len(tokens), TOLD), UNTOLD) for tokens in visual]
    videos, before, slots = len(visual), len(prefix), max(len(tokens) for tokens in visual)
    after = max(sum(len(one.prompt) + len(one.answer) for one in questions) for questions in asked)
    ids = torch.full((videos, after), pad)
    targets = torch.full((videos, after), -100)
    positions = torch.arange(before + slots + after).expand(videos, -1).clone()
    # Whose token it is: -1 the video's, 0, 1, … that question's, -2 nobody's.
    owner = torch.full((videos, before + slots + after), -2)
    for row, (tokens, questions) in enumerate(zip(visual, asked, strict=True)):
        shown = before + len(tokens)
        owner[row, :shown] = -1
        start = 0
        for number, one in enumerate(questions):
            text = [*one.prompt, *one.answer]
            end = start + len(text)
            ids[row, start:end] = torch.tensor(text)
            answered = start + len(one.prompt) - 1
            targets[row, answered : answered + len(one.answer)] = torch.tensor(one.answer)
            owner[row, before + slots + start : before + slots + end] = number
            positions[row, before + slots + start : before + slots + end] = torch.arange(shown, shown + len(text))
            start = end
    length = owner.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    sees = (owner[:, None, :] == -1) | (owner[:, None, :] == owner[:, :, None])
    # Padding sees itself alone: a row that sees nothing would be undefined.
    mask = (sees & earlier & (owner[:, None, :] != -2)) | torch.eye(length, dtype=torch.bool)
    padded = torch.nn.utils.rnn.pad_sequence(list(visual), batch_first=True)
    return Sequences(
        prefix=prefix,
        visual=padded,
        ids=ids,
        positions=positions,
        mask=mask[:, None],
        targets=targets,
        told=torch.nn.utils.rnn.pad_sequence(list(told), batch_first=True, padding_value=UNTOLD),
        asked=tuple(one for questions in asked for one in questions),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What the model says to sequences; N tokens of answers in all.

    Attributes:
        logits: where answers are due, (N, vocabulary).
        targets: the answers' tokens, (N,).
        states: of the visual tokens, below the language model and after each of its layers, (B * V, D) each.
        told: what they can tell, (B * V, 5).
        asked: the questions, in the order of their answers.
    """

    logits: Float[Tensor, "answers vocabulary"]
    targets: Int[Tensor, " answers"]
    states: tuple[Float[Tensor, "tokens width"], ...]
    told: Int[Tensor, "tokens told"]
    asked: tuple[Asked, ...]

    def right(self) -> list[tuple[str, bool]]:
        """Return each question's kind, and whether all of its answer is the likeliest."""
        is_right = self.logits.argmax(-1) == self.targets
        answers = torch.split(is_right, [len(one.answer) for one in self.asked])
        return [(one.kind, bool(answer.all())) for one, answer in zip(self.asked, answers, strict=True)]


def answer_questions(model: Any, batch: Sequences) -> Answers:
    """Run projector and language model."""
    core = model.model
    embed = core.get_input_embeddings()
    videos, slots = batch.visual.shape[:2]
    visual = core.multi_modal_projector(batch.visual)
    prefix = embed(torch.tensor(batch.prefix, device=batch.ids.device)).expand(videos, -1, -1)
    embeds = torch.cat([prefix, visual, embed(batch.ids)], dim=1)
    output = core.language_model(
        inputs_embeds=embeds,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        use_cache=False,
        output_hidden_states=True,
    )
    hidden = output.last_hidden_state[:, -batch.ids.shape[1] :]
    due = batch.targets != -100
    before = len(batch.prefix)
    return Answers(
        logits=model.lm_head(hidden[due]),
        targets=batch.targets[due],
        states=tuple(states[:, before : before + slots].flatten(0, 1) for states in output.hidden_states),
        told=batch.told.flatten(0, 1),
        asked=batch.asked,
    )
