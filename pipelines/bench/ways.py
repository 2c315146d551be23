"""The ways of looking at frames: each from decoded frames to tokens, and from these to an answer, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

import vidzip
from pipelines.bench.published import run_everything, zip_everything
from pipelines.bench.settings import ENCODE, FULL, OURS, PUBLISHED, WHOLE, Case
from vidzip import Budget, Frames, Plan, VideoModel, ZippedFrames, zip_frames
from vidzip.models.timing import Stopwatch
from vidzip.planner import split_evenly
from vidzip.video.sampling import Policy

HEIGHT, WIDTH = 360, 640
"""Pixels of frames drawn at random."""

NEW_TOKENS = 2
"""Tokens of an answer: the first is the prefill's, the second is timed by itself."""

Pixels = UInt8[Tensor, "frames 3 height width"]
Tokens = Float[Tensor, "kept dim"]


def random_frames(count: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Draw frames as a decoder leaves them: whole, in the host's memory, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def plan_of(model: VideoModel, case: Case) -> Plan:
    """Plan a case's frames of its video, whole frames as the model's own code does."""
    policy: Policy = "middle"
    total = case.tokens or case.frames * model.tokens_per_frame
    if case.way == FULL:
        policy = model.sampling_policy
    return model.plan(case.video or "", Budget(total_tokens=total, num_frames=case.frames), policy=policy)


@dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """What looking at frames gave.

    Attributes:
        tokens: what the projector is given; None where the way ends before.
        zipped: where they come from, of vidzip's own way alone.
    """

    tokens: Tokens | None = None
    zipped: ZippedFrames | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model, and its tower once more for the published way.

    Attributes:
        model: who looks, and is asked.
        eager: the same tower with eager attention.
        question: what is asked; None where there is no language model.
    """

    model: VideoModel
    eager: nn.Module
    question: str | None

    def look(self, case: Case, pixels: Pixels, stopwatch: Stopwatch) -> Looked:
        """Turn decoded frames, (F, 3, H, W) uint8 on the host, into tokens.

        Args:
            case: which way.
            pixels: its frames.
            stopwatch: gets the seconds of preprocess, encode and compress, as far as the way has them.
        """
        model = self.model
        if case.way in (OURS, ENCODE):
            features = model.encode(Frames(pixels=pixels, timestamps_seconds=(0.0,) * len(pixels)), stopwatch)
            if case.way == ENCODE:
                return Looked()
            with stopwatch.stage("compress"):
                zipped = zip_frames(features, _counts(case))
            return Looked(tokens=zipped.tokens, zipped=zipped)
        batches: Iterable[Tensor] = _prepared(model, pixels, stopwatch)
        if case.way in (FULL, WHOLE):
            batches = [torch.cat(list(batches))]
        if case.way in (PUBLISHED, WHOLE):
            return Looked(tokens=self._look_as_published(case, batches, stopwatch))
        states: Sequence[Tensor] | None = None
        for prepared in batches:
            with stopwatch.stage("encode"), torch.no_grad():
                states = model.tower(prepared, output_hidden_states=case.way == FULL).hidden_states
        return Looked(tokens=None if states is None else states[model.family.feature_layer].flatten(0, 1))

    def _look_as_published(self, case: Case, batches: Iterable[Tensor], stopwatch: Stopwatch) -> Tokens:
        layer, counts = self.model.family.feature_layer, _counts(case)
        parts: list[Tensor] = []
        for prepared in batches:
            with stopwatch.stage("encode"):
                seen = run_everything(self.eager, prepared, layer)
            with stopwatch.stage("compress"), torch.no_grad():
                parts.append(zip_everything(seen, layer, counts[: len(prepared)]))
            counts = counts[len(prepared) :]
            del seen  # before the next batch makes its own
        with stopwatch.stage("compress"):
            return torch.cat(parts)

    def ask(self, tokens: Tokens, stopwatch: Stopwatch) -> list[int]:
        """Ask about tokens, (T, D), as :meth:`vidzip.VideoModel.ask` does of packed ones; returns the answer's ids.

        Args:
            tokens: of any way.
            stopwatch: gets the seconds of project, prefill and generate.
        """
        model = self.model
        with stopwatch.stage("project"), torch.no_grad():
            embeds = model.language.embed(self.question or "", model.family.project(tokens))
        (generated,) = model.language.generate([embeds], NEW_TOKENS, stopwatch)
        return generated.ids

    def ask_about_file(self, case: Case, stopwatch: Stopwatch) -> float:
        """Pack a video, of which a plan was made, and ask about it; returns the seconds from file to first token.

        Args:
            case: which video.
            stopwatch: gets every stage's seconds, of decoding those that it was waited for.
        """
        model, path = self.model, case.video or ""
        plan = plan_of(model, case)
        began = stopwatch.now()
        packed = model.pack(path, plan)
        took = stopwatch.now() - began
        answer = model.ask(packed, self.question or "", max_new_tokens=NEW_TOKENS)
        for stage, seconds in answer.stage_seconds.items():
            stopwatch.add(stage, seconds)
        return took + answer.stage_seconds["project"] + answer.stage_seconds["prefill"]


def decode(model: VideoModel, case: Case, stopwatch: Stopwatch) -> Pixels:
    """Decode a case's frames whole, into the host's memory.

    Raises:
        VideoError: the file cannot be decoded at a moment of the plan.
    """
    plan = plan_of(model, case)
    with stopwatch.stage("decode"):
        frames = vidzip.decode(case.video or "", plan.timestamps_seconds)
    return frames.pixels


def _prepared(model: VideoModel, pixels: Pixels, stopwatch: Stopwatch) -> Iterator[Float[Tensor, "frames 3 side side"]]:
    """Prepare frames for the tower, as many at once as it takes."""
    for frames in torch.split(pixels, model.batch_frames):
        with stopwatch.stage("preprocess"):
            prepared = model.preprocessor(frames, model.device, model.dtype)
        yield prepared


def _counts(case: Case) -> list[int]:
    return split_evenly(case.tokens or 0, case.frames)
