"""Greedy decoding from embeddings, several prompts at once, after what is in the cache already; timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Cache, GenerationConfig
from transformers.generation.streamers import BaseStreamer

from vidzip.models.timing import Stopwatch

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """New tokens without the end marker, and why they ended: the model stopped, or the length was reached."""

    ids: list[int]
    finish_reason: FinishReason


def generate_greedily(
    model: Any,
    prompts: Sequence[Float[Tensor, "1 length width"]],
    *,
    before: Float[Tensor, "1 before width"] | None = None,
    cache: Cache | None = None,
    max_new_tokens: int,
    eos_token_ids: list[int],
    pad_token_id: int,
    stopwatch: Stopwatch,
) -> list[Generated]:
    """Generate by the most likely token each time, for one prompt or several at once.

    Prompts of different lengths are padded on their left; what is padded is masked and takes no position.

    Args:
        model: transformers' Video-LLaVA.
        prompts: embeddings, (1, length, width) each.
        before: embeddings that stand before every prompt, (1, before, width).
        cache: the model's cache of ``before``, of as many rows as there are prompts; it grows.
        max_new_tokens: at most so many each.
        eos_token_ids: what ends an answer.
        pad_token_id: what fills a row that has ended.
        stopwatch: gets the seconds of the stages ``prefill`` and ``generate``.
    """
    embeds, mask = _side_by_side(prompts, before)
    first_token = _FirstToken(stopwatch)
    began = stopwatch.now()
    output = model.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=eos_token_ids, pad_token_id=pad_token_id
        ),
        streamer=first_token,
        **({} if cache is None else {"past_key_values": cache}),
    )
    ended = stopwatch.now()
    prefilled = ended if first_token.came is None else first_token.came
    stopwatch.add("prefill", prefilled - began)
    stopwatch.add("generate", ended - prefilled)
    return [_until_the_end(row, eos_token_ids) for row in output.tolist()]


def _side_by_side(
    prompts: Sequence[Float[Tensor, "1 length width"]], before: Float[Tensor, "1 before width"] | None
) -> tuple[Float[Tensor, "prompts length width"], Tensor]:
    """Put prompts into one batch, each behind the same beginning; with what of it is not padding."""
    most = max(prompt.shape[1] for prompt in prompts)
    rows, masks = [], []
    for prompt in prompts:
        padding = most - prompt.shape[1]
        parts = [prompt.new_zeros(1, padding, prompt.shape[2]), prompt]
        counts = [(padding, 0), (prompt.shape[1], 1)]
        if before is not None:
            parts, counts = [before, *parts], [(before.shape[1], 1), *counts]
        rows.append(torch.cat(parts, dim=1))
        masks.append(torch.tensor([seen for count, seen in counts for _ in range(count)]))
    return torch.cat(rows), torch.stack(masks).to(prompts[0].device)


def _until_the_end(row: list[int], eos_token_ids: list[int]) -> Generated:
    for place, token in enumerate(row):
        if token in eos_token_ids:
            return Generated(ids=row[:place], finish_reason="stop")
    return Generated(ids=row, finish_reason="length")


class _FirstToken(BaseStreamer):
    """Notes when the first new token comes; the (empty) prompt of ids is streamed before it."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self.came: float | None = None

    def put(self, value: Any) -> None:
        if self.came is None and value.numel():
            self.came = self._stopwatch.now()

    def end(self) -> None:
        pass
