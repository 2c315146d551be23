"""Greedy generation from embeddings: several prompts in a batch, after a cached prefix, timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, GenerationConfig
from transformers.generation.streamers import BaseStreamer

from vidzip.models.timing import Stopwatch

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """New token ids without the end token, and why generation ended: a stop token, or the length limit."""

    ids: list[int]
    finish_reason: FinishReason


Positions = Callable[[Float[Tensor, "prompts length width"], Int[Tensor, "prompts length"]], Tensor | None]
"""From embeddings and attention mask to the positions of a batch; None if the network counts them itself."""


class Prefill(Protocol):
    """Runs a batch of prompts through the language model in place of its own prefill, e.g. to prune tokens."""

    def __call__(
        self, network: Any, inputs_embeds: Float[Tensor, "prompts length width"], attention_mask: Int[Tensor, "..."]
    ) -> Cache:
        """Return a cache of every position but the last, which the first generation step runs."""


def generate_greedily(
    network: Any,
    prompts: Sequence[Float[Tensor, "1 length width"]],
    *,
    prefix: Float[Tensor, "1 prefix width"] | None = None,
    cache: Cache | None = None,
    max_new_tokens: int,
    stop_token_ids: list[int],
    pad_token_id: int,
    stopwatch: Stopwatch,
    position_ids: Positions | None = None,
    streamer: BaseStreamer | None = None,
    prefill: Prefill | None = None,
) -> list[Generated]:
    """Generate by the most likely token each time, for one prompt or a batch.

    Prompts of different lengths are padded on the left; padding is masked and takes no position.

    Args:
        network: the transformers model.
        prompts: embeddings, (1, length, width) each.
        prefix: embeddings in front of every prompt, (1, prefix, width).
        cache: the network's cache of ``prefix``, with a row per prompt; it grows.
        max_new_tokens: limit on new tokens of each prompt.
        stop_token_ids: ids that end an answer.
        pad_token_id: fills a row that has ended.
        stopwatch: counts the stages ``prefill`` and ``generate``.
        position_ids: gives the positions of the batch, see :meth:`ModelFamily.position_ids`.
        streamer: receives token ids as they are generated.
        prefill: replaces the network's own prefill; not together with ``cache``.
    """
    embeds, mask = _batch(prompts, prefix)
    first_token = _FirstToken(stopwatch, streamer)
    began = stopwatch.now()
    positions = None if position_ids is None else position_ids(embeds, mask)
    if prefill is not None:
        cache = prefill(network, embeds, mask)
    output = network.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=stop_token_ids, pad_token_id=pad_token_id
        ),
        streamer=first_token,
        **({} if cache is None else {"past_key_values": cache}),
        **({} if positions is None else {"position_ids": positions}),
    )
    ended = stopwatch.now()
    prefilled = ended if first_token.came is None else first_token.came
    stopwatch.add("prefill", prefilled - began)
    stopwatch.add("generate", ended - prefilled)
    return [_until_stop(row, stop_token_ids) for row in output.tolist()]


def _batch(
    prompts: Sequence[Float[Tensor, "1 length width"]], prefix: Float[Tensor, "1 prefix width"] | None
) -> tuple[Float[Tensor, "prompts length width"], Int[Tensor, "prompts length"]]:
    """Batch prompts behind a common prefix, padded on the left; returns embeddings and attention mask."""
    longest = max(prompt.shape[1] for prompt in prompts)
    rows, masks = [], []
    for prompt in prompts:
        padding = longest - prompt.shape[1]
        parts = [prompt.new_zeros(1, padding, prompt.shape[2]), prompt]
        counts = [(padding, 0), (prompt.shape[1], 1)]
        if prefix is not None:
            parts, counts = [prefix, *parts], [(prefix.shape[1], 1), *counts]
        rows.append(torch.cat(parts, dim=1))
        masks.append(torch.tensor([seen for count, seen in counts for _ in range(count)]))
    return torch.cat(rows), torch.stack(masks).to(prompts[0].device)


def _until_stop(row: list[int], stop_token_ids: list[int]) -> Generated:
    for place, token in enumerate(row):
        if token in stop_token_ids:
            return Generated(ids=row[:place], finish_reason="stop")
    return Generated(ids=row, finish_reason="length")


class _FirstToken(BaseStreamer):
    """Notes when the first new token comes, and passes tokens on; the (empty) prompt of ids is streamed before it."""

    def __init__(self, stopwatch: Stopwatch, next_streamer: BaseStreamer | None) -> None:
        self._stopwatch = stopwatch
        self._next = next_streamer
        self.came: float | None = None

    def put(self, value: Any) -> None:
        if self.came is None and value.numel():
            self.came = self._stopwatch.now()
        if self._next is not None and value.numel():
            self._next.put(value)

    def end(self) -> None:
        if self._next is not None:
            self._next.end()
