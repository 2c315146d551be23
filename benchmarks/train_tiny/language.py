"""Stage 3: projector and language model learn to answer from the frozen tower's features.

Several questions about a video share one sequence: each attends to the video and itself only, at the positions it would
have alone. The video is processed once for all of them, and the gradients are the same as one by one.
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
from torch import Tensor

from benchmarks.train_tiny.auxiliary_loss import (
    IGNORED,
    NUM_TARGETS,
    AuxiliaryHeads,
    AuxiliaryTargets,
    auxiliary_loss,
)
from benchmarks.train_tiny.muon import matrices_of
from benchmarks.train_tiny.runs import Run, Stage
from benchmarks.train_tiny.training_frames import PATCHES, TrainingVideo
from benchmarks.train_tiny.training_questions import training_questions
from eval.shapes import Question
from eval.shapes.random_stream import RandomStream
from pipelines.terminal import Progress
from vidzip.models.video_llava import prompt_ids

STAGE = "language"
PEAK = 7e-4
WARM_UP = 200

FRAME_TOKENS = 1 + PATCHES**2
"""CLS and patches."""

FULL_FRAMES = 8
"""Frames of a full-length sample, which keeps all patches."""

_IMAGES_UNTIL, _IMAGE_TOKENS = 0.08, (64, FRAME_TOKENS)
"""Share of the steps with samples of one or two frames, and their token range: images come before videos, as in
Video-LLaVA's own training."""

_FEW_FRAMES_SHARE, _FEW_FRAMES, _FEW_FRAMES_TOKENS = 0.25, 3, (FRAME_TOKENS // 2, 3 * FRAME_TOKENS)
"""After that: probability, maximum frames and token range of samples of few frames with most of their patches."""

_FULL_FROM, _FULL_SHARE = 0.6, 0.3
"""Share of the steps after which full-length samples occur, and their probability."""

_DROPOUT_TOKENS = ((0.4, (16, 200, 400)), (1.0, (32, 512, 1200)))
"""Until a share of the steps: the fewest, usual and rare maximum of visual tokens under patch dropout; one step in eight
uses the rare one. Short samples come first: they leave room for more questions per step and are learnt soon. Motion,
counts and order need longer ones, in which fewer objects are missing."""

_CLUSTERED_SHARE, _MAX_CLUSTERING = 0.35, 8.0
"""Probability that kept patches are clustered, and the largest weight of the distance from the cluster's centre."""

_TOKENS, _QUESTION_TOKENS, _MAX_VIDEOS = 3000, 230, 16
"""Approximate tokens per step, a video's share of them for questions, and the maximum videos per step."""

_AUXILIARY_WEIGHT = 0.5

_LOG_STEPS = 50
_STREAM = 78
"""Random stream of this module; others make the scene and choose its frames."""


def train_language(
    run: Run,
    model: Any,
    tokenizer: Any,
    videos: Sequence[TrainingVideo],
    *,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train projector and language model; resume from a checkpoint if there is one."""
    steps, seed = run.recipe.language_steps, run.recipe.seed
    model.to(device).train()
    torch.manual_seed(seed)
    core = model.model
    heads = AuxiliaryHeads(model.config.text_config.hidden_size).to(device)
    modules = {
        "projector": core.multi_modal_projector,
        "language": core.language_model,
        "head": model.lm_head,
        "auxiliary": heads,
    }
    matrices = matrices_of(core.multi_modal_projector, core.language_model.layers)
    stage = Stage(run, STAGE, modules, steps=steps, peak=PEAK, warm_up=WARM_UP, matrices=matrices)
    auxiliary_targets = AuxiliaryTargets()
    means = _RunningMeans()
    for step in stage.steps("train the language model", progress):
        draws = RandomStream(seed, _STREAM, step)
        size = _sample_size(draws, step / steps)
        chosen = [draws.choice(videos) for _ in range(size.videos)]
        batch = _make_batch(draws, model, tokenizer, chosen, size=size, auxiliary_targets=auxiliary_targets)
        if batch is None:
            continue
        output = answer_questions(model, batch.to(device))
        loss = F.cross_entropy(output.logits, output.targets)
        auxiliary, metrics = auxiliary_loss(heads, output.states, output.auxiliary_targets)
        stage.update(loss + _AUXILIARY_WEIGHT * auxiliary)
        means.add({"loss": loss.item(), "auxiliary loss": auxiliary.item(), **metrics})
        for kind, is_right in output.correct():
            means.add({f"{kind} right": float(is_right)})
        if (step + 1) % _LOG_STEPS == 0:
            run.log(STAGE, step + 1, means.pop())
    model.eval()


@dataclass(frozen=True, kw_only=True)
class _SampleSize:
    """Videos in a step; the maximum tokens and frames of each (None: all frames)."""

    videos: int
    tokens: int
    frames: int | None


def _sample_size(draws: RandomStream, progress: float) -> _SampleSize:
    """Draw the sample size of a step; ``progress`` is the share of the steps that are done."""
    frames = None
    is_full = progress >= _FULL_FROM and draws.uniform() < _FULL_SHARE
    fewest, usual, rare = next(sizes for until, sizes in _DROPOUT_TOKENS if progress < until)
    most = rare if draws.uniform() < 0.125 else usual
    tokens = math.exp(draws.uniform(math.log(fewest), math.log(most)))
    if progress < _IMAGES_UNTIL:
        tokens, frames = draws.uniform(*_IMAGE_TOKENS), 2
    elif draws.uniform() < _FEW_FRAMES_SHARE:
        tokens, frames = draws.uniform(*_FEW_FRAMES_TOKENS), _FEW_FRAMES
    if is_full:
        tokens, frames = FULL_FRAMES * FRAME_TOKENS, None
    videos = max(2, min(_MAX_VIDEOS, int(_TOKENS / (tokens + _QUESTION_TOKENS))))
    return _SampleSize(videos=videos, tokens=int(tokens), frames=frames)


class _RunningMeans:
    """Means by name since the last log row."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def pop(self) -> dict[str, float]:
        """Return the means and reset them."""
        means = {name: sum(values) / len(values) for name, values in sorted(self._values.items())}
        self._values.clear()
        return means


def _make_batch(
    draws: RandomStream,
    model: Any,
    tokenizer: Any,
    videos: Sequence[TrainingVideo],
    *,
    size: _SampleSize,
    auxiliary_targets: AuxiliaryTargets,
) -> Batch | None:
    """Sample tokens of each video, and questions that they can answer; None if there are no questions at all."""
    visual: list[Tensor] = []
    targets: list[Tensor] = []
    asked: list[list[TokenizedQuestion]] = []
    prefix: list[int] = []
    for video in videos:
        sample = sample_tokens(draws, np.load(video.features_file, mmap_mode="r"), size.tokens, size.frames)
        questions = training_questions(draws, video.spec.clip, [video.spec.frames[i] for i in sample.frames])
        if questions:
            pairs = [tokenize(tokenizer, model.config.video_token_index, question) for question in questions]
            prefix = pairs[0][0]
            visual.append(sample.visual)
            targets.append(auxiliary_targets.of(video, sample.frames, sample.tokens))
            asked.append([question for _, question in pairs])
    return collate(prefix, visual, asked, tokenizer.pad_token_id, targets) if visual else None


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSample:
    """Visual tokens sampled from a video: F frames, k tokens of each.

    Attributes:
        visual: the tokens, (F * k, D).
        frames: numbers of the frames, (F,).
        tokens: numbers of each frame's tokens, (F, k): 0 for CLS, 1 + patch number otherwise.
    """

    visual: Float[Tensor, "tokens width"]
    frames: list[int]
    tokens: Int[np.ndarray, "frames kept"]


def sample_tokens(
    draws: RandomStream, features: Float[np.ndarray, "frames patches width"], tokens: int, max_frames: int | None = None
) -> TokenSample:
    """Sample frames of a video and patches of each; CLS is always kept.

    Args:
        draws: the random numbers.
        features: (F, 1 + patches, D).
        tokens: the maximum number of tokens.
        max_frames: the maximum number of frames; all when left out.
    """
    count, size, width = features.shape
    if tokens >= FULL_FRAMES * size:
        frames = [int((i + 0.5) * count / FULL_FRAMES) for i in range(FULL_FRAMES)]
        frames = list(dict.fromkeys(frames))
    else:
        frames = list(range(count))
        if count > 1 and draws.uniform() < 0.4:
            frames = sorted(draws.sample(frames, draws.between(min(2, count), count)))
        if max_frames is not None:
            frames = sorted(draws.sample(frames, draws.between(1, max_frames)))
        while len(frames) > tokens:
            frames = frames[::2]
    keep = min(size - 1, tokens // len(frames) - 1)
    scores = _dropout_scores(draws, len(frames), size - 1)
    patches = np.sort(np.argsort(scores, axis=1, kind="stable")[:, :keep], axis=1) + 1
    kept = np.concatenate([np.zeros((len(frames), 1), dtype=patches.dtype), patches], axis=1)
    visual = np.take_along_axis(np.asarray(features[frames], dtype=np.float32), kept[..., None], axis=1)
    return TokenSample(visual=torch.from_numpy(visual.reshape(-1, width)), frames=frames, tokens=kept)


def _dropout_scores(draws: RandomStream, frames: int, patches: int) -> Float[np.ndarray, "frames patches"]:
    """Draw a score for each patch; those with the lowest are kept.

    For some videos the score grows with the distance from a random point of each frame, so that the kept patches are
    clustered: the number of patches that show an object then does not give away the number of objects.
    """
    scores = draws.bytes(frames, patches, 4).view("<u4")[..., 0] / 2.0**32
    if draws.uniform() < _CLUSTERED_SHARE:
        side = math.isqrt(patches)
        points = np.array([[draws.uniform(0, side), draws.uniform(0, side)] for _ in range(frames)])
        centres = np.stack(np.divmod(np.arange(patches), side), axis=-1) + 0.5
        distance = np.linalg.norm(centres - points[:, None], axis=-1) / side
        scores = scores + draws.uniform(0, _MAX_CLUSTERING) * distance
    return scores


@dataclass(frozen=True, kw_only=True)
class TokenizedQuestion:
    """A question as token ids: the prompt after the video, and the answer with the end-of-sequence token."""

    kind: str
    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Padded sequences of videos and questions; B videos, V visual tokens, P prefix tokens, L tokens in total.

    Attributes:
        prefix: the prompt before the video, the same for all.
        visual: the tower's tokens, padded, (B, V, D).
        ids: the tokens after the videos, all questions in sequence, (B, L - P - V).
        positions: (B, L).
        mask: the attention mask, (B, 1, L, L).
        targets: the next token if it is part of an answer, else -100, (B, L - P - V).
        auxiliary_targets: targets of the visual tokens, (B, V, 5); see :meth:`AuxiliaryTargets.of`.
        asked: the questions, in the order of their answers in ``targets``.
    """

    prefix: list[int]
    visual: Float[Tensor, "videos slots width"]
    ids: Int[Tensor, "videos after"]
    positions: Int[Tensor, "videos length"]
    mask: Bool[Tensor, "videos 1 length length"]
    targets: Int[Tensor, "videos after"]
    auxiliary_targets: Int[Tensor, "videos slots targets"]
    asked: tuple[TokenizedQuestion, ...]

    def to(self, device: torch.device) -> Batch:
        """Copy it to a device."""
        tensors = ("visual", "ids", "positions", "mask", "targets", "auxiliary_targets")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


def tokenize(tokenizer: Any, video_token_id: int, question: Question) -> tuple[list[int], TokenizedQuestion]:
    """Tokenize a question; return the prompt before the video, and the rest."""
    ids = prompt_ids(tokenizer, question.text, video_token_id)
    at = ids.index(video_token_id)
    answer = tokenizer(question.answer, add_special_tokens=False)["input_ids"]
    return ids[:at], TokenizedQuestion(
        kind=question.kind, prompt=ids[at + 1 :], answer=[*answer, tokenizer.eos_token_id]
    )


def collate(
    prefix: list[int],
    visual: Sequence[Float[Tensor, "tokens width"]],
    asked: Sequence[Sequence[TokenizedQuestion]],
    pad: int,
    auxiliary_targets: Sequence[Int[Tensor, "tokens targets"]] | None = None,
) -> Batch:
    """Make a batch of videos and their questions; auxiliary targets that are left out are ignored."""
    if auxiliary_targets is None:
        auxiliary_targets = [torch.full((len(tokens), NUM_TARGETS), IGNORED) for tokens in visual]
    videos, before, slots = len(visual), len(prefix), max(len(tokens) for tokens in visual)
    after = max(sum(len(question.prompt) + len(question.answer) for question in questions) for questions in asked)
    ids = torch.full((videos, after), pad)
    targets = torch.full((videos, after), -100)
    positions = torch.arange(before + slots + after).expand(videos, -1).clone()
    # -1: part of the shared prefix and video; 0, 1, …: part of that question; -2: padding.
    owner = torch.full((videos, before + slots + after), -2)
    for row, (tokens, questions) in enumerate(zip(visual, asked, strict=True)):
        shared = before + len(tokens)
        owner[row, :shared] = -1
        start = 0
        for number, question in enumerate(questions):
            text = [*question.prompt, *question.answer]
            end = start + len(text)
            ids[row, start:end] = torch.tensor(text)
            answered = start + len(question.prompt) - 1
            targets[row, answered : answered + len(question.answer)] = torch.tensor(question.answer)
            owner[row, before + slots + start : before + slots + end] = number
            positions[row, before + slots + start : before + slots + end] = torch.arange(shared, shared + len(text))
            start = end
    length = owner.shape[1]
    is_causal = torch.ones(length, length, dtype=torch.bool).tril()
    is_same = (owner[:, None, :] == -1) | (owner[:, None, :] == owner[:, :, None])
    # Padding attends to itself: softmax over an empty row would be undefined.
    mask = (is_same & is_causal & (owner[:, None, :] != -2)) | torch.eye(length, dtype=torch.bool)
    pad_sequence = torch.nn.utils.rnn.pad_sequence
    return Batch(
        prefix=prefix,
        visual=pad_sequence(list(visual), batch_first=True),
        ids=ids,
        positions=positions,
        mask=mask[:, None],
        targets=targets,
        auxiliary_targets=pad_sequence(list(auxiliary_targets), batch_first=True, padding_value=IGNORED),
        asked=tuple(question for questions in asked for question in questions),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """Output of the model for a batch; N answer tokens in total.

    Attributes:
        logits: predictions of the answer tokens, (N, vocabulary).
        targets: the answer tokens, (N,).
        states: hidden states of the visual tokens: embeddings, then each layer's output, (B * V, D) each.
        auxiliary_targets: (B * V, 5).
        asked: the questions, in the order of their answers.
    """

    logits: Float[Tensor, "answers vocabulary"]
    targets: Int[Tensor, " answers"]
    states: tuple[Float[Tensor, "tokens width"], ...]
    auxiliary_targets: Int[Tensor, "tokens targets"]
    asked: tuple[TokenizedQuestion, ...]

    def correct(self) -> list[tuple[str, bool]]:
        """Return each question's kind, and whether every token of its answer is predicted."""
        is_right = self.logits.argmax(-1) == self.targets
        answers = torch.split(is_right, [len(question.answer) for question in self.asked])
        return [(question.kind, bool(answer.all())) for question, answer in zip(self.asked, answers, strict=True)]


def answer_questions(model: Any, batch: Batch) -> Output:
    """Run projector and language model."""
    core = model.model
    embed = core.get_input_embeddings()
    videos, slots = batch.visual.shape[:2]
    visual = core.multi_modal_projector(batch.visual)
    prefix = embed(torch.tensor(batch.prefix, device=batch.ids.device)).expand(videos, -1, -1)
    output = core.language_model(
        inputs_embeds=torch.cat([prefix, visual, embed(batch.ids)], dim=1),
        attention_mask=batch.mask,
        position_ids=batch.positions,
        use_cache=False,
        output_hidden_states=True,
    )
    hidden = output.last_hidden_state[:, -batch.ids.shape[1] :]
    is_answer = batch.targets != -100
    before = len(batch.prefix)
    return Output(
        logits=model.lm_head(hidden[is_answer]),
        targets=batch.targets[is_answer],
        states=tuple(states[:, before : before + slots].flatten(0, 1) for states in output.hidden_states),
        auxiliary_targets=batch.auxiliary_targets.flatten(0, 1),
        asked=batch.asked,
    )
