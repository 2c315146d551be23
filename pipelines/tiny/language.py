"""The second stage: projector and language model learn to answer from the frozen tower's features.

Several questions of a video stand in one sequence: each sees the video and itself, and none of the others, at the
positions it would have alone. So the video is paid for once, and what is learnt is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from eval.shapes import KINDS, Question
from eval.shapes.randomness import Draws
from pipelines.terminal import Progress
from pipelines.tiny.footage import PATCHES, Shot
from pipelines.tiny.practice import practice_questions
from pipelines.tiny.runs import Run, learning_rate
from vidzip.models.prompting import prompt_ids

STAGE = "language"
PEAK = 7e-4
WARM_UP = 200

WHOLE_FRAMES = 8
"""Frames of a full-length sample, with all their patches."""

_PICTURES_UNTIL, _PICTURE_TOKENS = 0.1, (64, 257)
"""Until which share of the steps samples are of one frame or two, and of how many tokens: pictures come before
videos, as in Video-LLaVA's own training."""

_WHOLE_FROM, _WHOLE_SHARE = 0.75, 0.25
"""From which share of the steps on, and how often then, samples are of full length."""

_FEWEST, _MOST, _RARELY = 16, 200, 400
"""Visual tokens of a sample under patch dropout; every eighth step may take up to the last number."""

_TOKENS, _QUESTION_TOKENS, _MOST_VIDEOS = 3000, 230, 16
"""Tokens a step, about; what a video's questions take of them; videos a step at most."""

_LOG_STEPS = 50
_STREAM = 78
"""Sets this module's draws apart from those that make the scene or film it."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A filmed video, and where the tower's features of its frames lie."""

    shot: Shot
    features: str


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
    modules = language_modules(model)
    parameters = [parameter for module in modules.values() for parameter in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK, betas=(0.9, 0.98), weight_decay=0.05)
    lost: list[float] = []
    right: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for step in range(run.resume(STAGE, modules, optimizer), steps):
        progress("train the language model", step, steps)
        draws = Draws(seed, _STREAM, step)
        is_whole = step >= _WHOLE_FROM * steps and draws.uniform() < _WHOLE_SHARE
        most = _RARELY if draws.uniform() < 0.125 else _MOST
        tokens = math.exp(draws.uniform(math.log(_FEWEST), math.log(most)))
        is_picture = step < _PICTURES_UNTIL * steps
        if is_picture:
            tokens = draws.uniform(*_PICTURE_TOKENS)
        if is_whole:
            tokens = WHOLE_FRAMES * (PATCHES**2 + 1)
        videos = max(2, min(_MOST_VIDEOS, int(_TOKENS / (tokens + _QUESTION_TOKENS))))
        chosen = [draws.choice(lessons) for _ in range(videos)]
        batch = _sequences(draws, model, tokenizer, chosen, int(tokens), most_frames=2 if is_picture else None)
        if batch is None:
            continue
        loss, answered = answer_loss(model, batch.to(device))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, PEAK, WARM_UP)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        lost.append(loss.item())
        for kind, is_right in answered:
            right[kind].append(is_right)
        if (step + 1) % _LOG_STEPS == 0:
            shares = {f"{kind} right": sum(shares) / len(shares) for kind, shares in right.items() if shares}
            run.log(STAGE, step + 1, {"loss": sum(lost) / len(lost), **shares})
            lost.clear()
            right = {kind: [] for kind in KINDS}
        run.checkpoint(STAGE, step + 1, modules, optimizer, is_last=step + 1 == steps)
    model.eval()


def language_modules(model: Any) -> dict[str, nn.Module]:
    """Name what this stage trains: all of the model but its towers."""
    core = model.model
    return {"projector": core.multi_modal_projector, "language": core.language_model, "head": model.lm_head}


def _sequences(
    draws: Draws, model: Any, tokenizer: Any, lessons: Sequence[Lesson], tokens: int, *, most_frames: int | None
) -> Sequences | None:
    """Show videos in at most so many tokens and frames each, and ask what can be answered from the frames."""
    visual: list[Tensor] = []
    asked: list[list[Asked]] = []
    prefix: list[int] = []
    for lesson in lessons:
        shown, numbers = show(draws, np.load(lesson.features, mmap_mode="r"), tokens, most_frames)
        questions = practice_questions(draws, lesson.shot.clip, [lesson.shot.frames[i] for i in numbers])
        if questions:
            pairs = [tokenise(tokenizer, model.config.video_token_index, question) for question in questions]
            prefix = pairs[0][0]
            visual.append(shown)
            asked.append([one for _, one in pairs])
    return join(prefix, visual, asked, tokenizer.pad_token_id) if visual else None


def show(
    draws: Draws, features: Float[np.ndarray, "frames patches width"], tokens: int, most_frames: int | None = None
) -> tuple[Float[Tensor, "tokens width"], list[int]]:
    """Take some frames of a video and some patches of each, CLS always; also return which frames.

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
    frames = np.asarray(features[numbers], dtype=np.float32)
    if keep < size - 1:
        # As many random numbers as patches: those with the least are kept, in their order.
        scores = draws.bytes(len(numbers), size - 1, 4).view("<u4")[..., 0]
        kept = np.sort(np.argsort(scores, axis=1, kind="stable")[:, :keep], axis=1) + 1
        kept = np.concatenate([np.zeros((len(numbers), 1), dtype=kept.dtype), kept], axis=1)
        frames = np.take_along_axis(frames, kept[..., None], axis=1)
    return torch.from_numpy(frames.reshape(-1, width)), numbers


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
        asked: the questions, in the order in which their answers stand in ``targets``.
    """

    prefix: list[int]
    visual: Float[Tensor, "videos slots width"]
    ids: Int[Tensor, "videos after"]
    positions: Int[Tensor, "videos length"]
    mask: Bool[Tensor, "videos 1 length length"]
    targets: Int[Tensor, "videos after"]
    asked: tuple[Asked, ...]

    def to(self, device: torch.device) -> Sequences:
        """Move it to a device."""
        moved = {name: getattr(self, name).to(device) for name in ("visual", "ids", "positions", "mask", "targets")}
        return Sequences(prefix=self.prefix, asked=self.asked, **moved)


def tokenise(tokenizer: Any, video_token_id: int, question: Question) -> tuple[list[int], Asked]:
    """Split a prompt at its video marker; also return what comes before it."""
    ids = prompt_ids(tokenizer, question.text, video_token_id)
    at = ids.index(video_token_id)
    words = tokenizer(question.answer, add_special_tokens=False)["input_ids"]
    return ids[:at], Asked(kind=question.kind, prompt=ids[at + 1 :], answer=[*words, tokenizer.eos_token_id])


def join(
    prefix: list[int], visual: Sequence[Float[Tensor, "tokens width"]], asked: Sequence[Sequence[Asked]], pad: int
) -> Sequences:
    """Lay videos with their questions out as sequences."""
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
        asked=tuple(one for questions in asked for one in questions),
    )


def answer_logits(model: Any, batch: Sequences) -> tuple[Float[Tensor, "answers vocabulary"], Int[Tensor, " answers"]]:
    """Run projector and language model; return logits where answers are due, and the answers' tokens."""
    core = model.model
    embed = core.get_input_embeddings()
    videos = batch.visual.shape[0]
    visual = core.multi_modal_projector(batch.visual)
    prefix = embed(torch.tensor(batch.prefix, device=batch.ids.device)).expand(videos, -1, -1)
    embeds = torch.cat([prefix, visual, embed(batch.ids)], dim=1)
    output = core.language_model(
        inputs_embeds=embeds, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
    )
    hidden = output.last_hidden_state[:, -batch.ids.shape[1] :]
    due = batch.targets != -100
    return model.lm_head(hidden[due]), batch.targets[due]


def answer_loss(model: Any, batch: Sequences) -> tuple[Tensor, list[tuple[str, bool]]]:
    """Compute the mean loss over answers' tokens; also return each question's kind, and whether it is answered right."""
    logits, targets = answer_logits(model, batch)
    answers = torch.split(logits.argmax(-1) == targets, [len(one.answer) for one in batch.asked])
    right = [(one.kind, bool(answer.all())) for one, answer in zip(batch.asked, answers, strict=True)]
    return F.cross_entropy(logits, targets), right
