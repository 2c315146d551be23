"""Greedy decoding from embeddings, timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GenerationConfig
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
    inputs_embeds: Float[Tensor, "1 length width"],
    *,
    max_new_tokens: int,
    eos_token_ids: list[int],
    pad_token_id: int,
    stopwatch: Stopwatch,
) -> Generated:
    """Generate by the most likely token each time."""
    first_token = _FirstToken(stopwatch)
    began = stopwatch.now()
    output = model.generate(
        inputs_embeds=inputs_embeds,
        attention_mask=torch.ones(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device),
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=eos_token_ids, pad_token_id=pad_token_id
        ),
        streamer=first_token,
    )
    ended = stopwatch.now()
    prefilled = ended if first_token.came is None else first_token.came
    stopwatch.add("prefill", prefilled - began)
    stopwatch.add("generate", ended - prefilled)
    ids = output[0].tolist()
    stopped = bool(ids) and ids[-1] in eos_token_ids
    return Generated(ids=ids[:-1] if stopped else ids, finish_reason="stop" if stopped else "length")


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
