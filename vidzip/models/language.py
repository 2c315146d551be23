"""The language model of a checkpoint: checks questions, embeds prompts and generates answers, for any family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Cache
from transformers.generation.streamers import BaseStreamer

from vidzip.errors import ContextTooLong
from vidzip.models.family import ModelFamily
from vidzip.models.generating import FinishReason, Generated, Prefill, generate_greedily
from vidzip.models.prompting import embed_prompt, embed_text
from vidzip.models.timing import Stopwatch
from vidzip.video.sampling import check_count


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The model's answer to one question.

    Attributes:
        text: the answer.
        finish_reason: ``"stop"`` if the model ended it, ``"length"`` if ``max_new_tokens`` did.
        visual_tokens: visual embeddings that the language model saw, layout tokens included, V.
        new_tokens: tokens generated, the end token not counted.
        stage_seconds: seconds spent in each stage. Stages from decode to compress, and project and prefix in a session,
            are spent once for all questions about a packed video. Questions in a batch share the seconds of prefill and
            generate evenly.
        warnings: deviations from the request, and doubts about the answer.
    """

    text: str
    finish_reason: FinishReason
    visual_tokens: int
    new_tokens: int
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """Questions in, answers out.

    Attributes:
        name: the model's name, for messages.
        family: the loaded checkpoint.
    """

    name: str
    family: ModelFamily = field(repr=False)

    @property
    def embedding(self) -> nn.Module:
        """The embedding of token ids."""
        return self.family.network.get_input_embeddings()

    @property
    def width(self) -> int:
        """Numbers in an embedding."""
        return int(self.family.config.get_text_config().hidden_size)

    @property
    def pad_token_id(self) -> int:
        """Fills a row of a batch that has ended."""
        pad = self.family.tokenizer.pad_token_id
        return self.family.stop_token_ids[0] if pad is None else int(pad)

    def check_question(self, question: str, visual_tokens: int, max_new_tokens: int) -> None:
        """Check that a question can be asked with so many visual tokens.

        Raises:
            BadQuestion: the question is empty or not valid text, or contains a special token.
            ContextTooLong: visual tokens, prompt and answer exceed the language model's context.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        self.check_length(visual_tokens, self.family.prompt(question).num_tokens, max_new_tokens)

    def check_length(self, visual_tokens: int, text_tokens: int, max_new_tokens: int) -> None:
        """Check that prompt and answer fit the language model's context.

        Raises:
            ContextTooLong: visual tokens, prompt and answer exceed it.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        max_new_tokens = check_count(max_new_tokens, "max_new_tokens")
        context = self.family.config.get_text_config().max_position_embeddings
        if visual_tokens + text_tokens + max_new_tokens > context:
            raise ContextTooLong(
                f"{visual_tokens} visual, {text_tokens} prompt and {max_new_tokens} new tokens exceed the model's "
                f"context of {context}",
                hint="take fewer frames or tokens, or lower --max-new-tokens",
            )

    def unknown_words(self, question: str) -> tuple[str, ...]:
        """List the words of a question that the tokenizer maps to its unknown token.

        Empty for tokenizers without an unknown token, and for slow tokenizers, which report no offsets.
        """
        tokenizer = self.family.tokenizer
        if not tokenizer.is_fast or tokenizer.unk_token_id is None:
            return ()
        encoded = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        unknown = (question[start:end] for token, (start, end) in pairs if token == tokenizer.unk_token_id)
        return tuple(dict.fromkeys(word for word in unknown if any(letter.isalnum() for letter in word)))

    def embed(self, question: str, visual: Float[Tensor, "visual width"]) -> Float[Tensor, "1 length width"]:
        """Embed the prompt of a question, with projected visual tokens in their place. Gradients are recorded as usual.

        Raises:
            BadQuestion: the question is empty or not valid text, or contains a special token.
        """
        return embed_prompt(self.family.prompt(question), visual, self.embedding)

    def embed_text(self, ids: tuple[int, ...], device: torch.device) -> Float[Tensor, "1 length width"]:
        """Embed token ids."""
        return embed_text(ids, self.embedding, device)

    def prefill(self, embeds: Float[Tensor, "1 length width"]) -> Cache:
        """Run a prompt prefix through the language model."""
        with torch.no_grad():
            mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
            positions = self.family.position_ids(embeds, mask)
            given = {} if positions is None else {"position_ids": positions}
            output = self.family.network(inputs_embeds=embeds, use_cache=True, logits_to_keep=1, **given)
        cache: Cache = output.past_key_values
        return cache

    def generate(
        self,
        prompts: Sequence[Float[Tensor, "1 length width"]],
        max_new_tokens: int,
        stopwatch: Stopwatch,
        *,
        prefix: Float[Tensor, "1 prefix width"] | None = None,
        cache: Cache | None = None,
        streamer: BaseStreamer | None = None,
        prefill: Prefill | None = None,
    ) -> list[Generated]:
        """Generate answers, see :func:`~vidzip.models.generating.generate_greedily`."""
        with torch.no_grad():
            return generate_greedily(
                self.family.network,
                prompts,
                prefix=prefix,
                cache=cache,
                max_new_tokens=max_new_tokens,
                stop_token_ids=self.family.stop_token_ids,
                pad_token_id=self.pad_token_id,
                stopwatch=stopwatch,
                position_ids=self.family.position_ids,
                streamer=streamer,
                prefill=prefill,
            )

    def answer(
        self,
        question: str,
        generated: Generated,
        *,
        visual_tokens: int,
        stage_seconds: Mapping[str, float],
        warnings: Sequence[str],
    ) -> Answer:
        """Decode generated tokens into an answer."""
        return Answer(
            text=str(self.family.tokenizer.decode(generated.ids, skip_special_tokens=True)).strip(),
            finish_reason=generated.finish_reason,
            visual_tokens=visual_tokens,
            new_tokens=len(generated.ids),
            stage_seconds=dict(stage_seconds),
            warnings=(*warnings, *self._warnings(question)),
        )

    def _warnings(self, question: str) -> Iterator[str]:
        unknown = self.unknown_words(question)
        if unknown:
            yield f"{self.name} does not know {', '.join(map(repr, unknown))}"
