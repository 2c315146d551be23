"""The measured variants: from decoded frames to visual tokens, and on to an answer, with a time for each stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

import vidzip
from pipelines.bench import published
from pipelines.bench.settings import ENCODE, PUBLISHED, PUBLISHED_ONE_BATCH, UNCOMPRESSED, VIDZIP, Case
from vidzip import Budget, Frames, Plan, VideoModel, ZippedFrames, zip_frames
from vidzip.models.timing import Stopwatch
from vidzip.planner import split_evenly

HEIGHT, WIDTH = 360, 640
"""Size of random frames in pixels."""

NEW_TOKENS = 2
"""Tokens of an answer: the first ends the prefill, the second is timed on its own."""

Pixels = UInt8[Tensor, "frames 3 height width"]
Tokens = Float[Tensor, "kept dim"]


def random_frames(count: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Draw random frames in host memory, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def plan_of(model: VideoModel, case: Case) -> Plan:
    """Plan a case's frames; uncompressed ones with the model's own sampling policy."""
    budget = Budget(total_tokens=case.tokens or case.frames * model.tokens_per_frame, num_frames=case.frames)
    policy = model.sampling_policy if case.variant == UNCOMPRESSED else "middle"
    return model.plan(case.video or "", budget, policy=policy)


@dataclass(frozen=True, kw_only=True, eq=False)
class VariantOutput:
    """Output of a variant.

    Attributes:
        tokens: the projector's input; None if the variant ends before.
        zipped: the tokens with their positions; of vidzip's own variant only.
    """

    tokens: Tokens | None = None
    zipped: ZippedFrames | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredModel:
    """A model to measure, with a second tower for the published variants.

    Attributes:
        model: the model.
        eager_tower: its tower with eager attention.
        question: the question to ask; None without a language model.
    """

    model: VideoModel
    eager_tower: nn.Module
    question: str | None

    def encode(self, case: Case, pixels: Pixels, stopwatch: Stopwatch) -> VariantOutput:
        """Run a variant from decoded frames to visual tokens.

        Args:
            case: the case.
            pixels: its frames at full size, (F, 3, H, W) on the host.
            stopwatch: counts the stages ``preprocess``, ``encode`` and ``compress``.
        """
        model = self.model
        if case.variant in (VIDZIP, ENCODE):
            features = model.encode(Frames(pixels=pixels, timestamps_seconds=(0.0,) * len(pixels)), stopwatch)
            if case.variant == ENCODE:
                return VariantOutput()
            with stopwatch.stage("compress"):
                zipped = zip_frames(features, _tokens_per_frame(case))
            return VariantOutput(tokens=zipped.tokens, zipped=zipped)
        batches: Iterable[Tensor] = _preprocess(model, pixels, stopwatch)
        if case.variant in (UNCOMPRESSED, PUBLISHED_ONE_BATCH):
            batches = [torch.cat(list(batches))]
        if case.variant in (PUBLISHED, PUBLISHED_ONE_BATCH):
            return VariantOutput(tokens=self._run_published(case, batches, stopwatch))
        states: Sequence[Tensor] | None = None
        for pixel_values in batches:
            with stopwatch.stage("encode"), torch.no_grad():
                states = model.tower(pixel_values, output_hidden_states=case.variant == UNCOMPRESSED).hidden_states
        return VariantOutput(tokens=None if states is None else states[model.family.feature_layer].flatten(0, 1))

    def _run_published(self, case: Case, batches: Iterable[Tensor], stopwatch: Stopwatch) -> Tokens:
        layer, counts = self.model.family.feature_layer, _tokens_per_frame(case)
        parts: list[Tensor] = []
        for pixel_values in batches:
            with stopwatch.stage("encode"):
                output = published.run_tower(self.eager_tower, pixel_values, layer)
            with stopwatch.stage("compress"), torch.no_grad():
                parts.append(published.compress(output, layer, counts[: len(pixel_values)]))
            counts = counts[len(pixel_values) :]
            del output  # before the next batch allocates its own
        with stopwatch.stage("compress"):
            return torch.cat(parts)

    def answer(self, tokens: Tokens, stopwatch: Stopwatch) -> list[int]:
        """Answer the question from visual tokens as :meth:`vidzip.VideoModel.ask` does; return the answer's ids.

        Args:
            tokens: output of any variant, (T, D).
            stopwatch: counts the stages ``project``, ``prefill`` and ``generate``.
        """
        model = self.model
        with stopwatch.stage("project"), torch.no_grad():
            embeds = model.language.embed(self.question or "", model.family.project(tokens))
        (generated,) = model.language.generate([embeds], NEW_TOKENS, stopwatch)
        return generated.ids

    def answer_from_file(self, case: Case, stopwatch: Stopwatch) -> float:
        """Pack a planned video and answer; return the seconds from the file to the first token.

        Args:
            case: the case.
            stopwatch: counts every stage; of decoding, the time that encoding waited for it.
        """
        plan = plan_of(self.model, case)
        began = stopwatch.now()
        packed = self.model.pack(case.video or "", plan)
        pack_seconds = stopwatch.now() - began
        answer = self.model.ask(packed, self.question or "", max_new_tokens=NEW_TOKENS)
        for stage, seconds in answer.stage_seconds.items():
            stopwatch.add(stage, seconds)
        return pack_seconds + answer.stage_seconds["project"] + answer.stage_seconds["prefill"]


def decode(model: VideoModel, case: Case, stopwatch: Stopwatch) -> Pixels:
    """Decode a case's frames at full size.

    Raises:
        VideoError: a planned frame cannot be decoded.
    """
    plan = plan_of(model, case)
    with stopwatch.stage("decode"):
        frames = vidzip.decode(case.video or "", plan.timestamps_seconds)
    return frames.pixels


def _preprocess(
    model: VideoModel, pixels: Pixels, stopwatch: Stopwatch
) -> Iterator[Float[Tensor, "frames 3 side side"]]:
    for frames in torch.split(pixels, model.batch_frames):
        with stopwatch.stage("preprocess"):
            pixel_values = model.preprocessor(frames, model.device, model.dtype)
        yield pixel_values


def _tokens_per_frame(case: Case) -> list[int]:
    return split_evenly(case.tokens or 0, case.frames)
