"""Prompts as token ids around the visual tokens, and their embeddings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from vidzip.errors import BadQuestion


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A question as token ids, before and after the visual tokens.

    Attributes:
        before: ids before the visual tokens, the start of text included.
        after: ids after them, up to the answer.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Text tokens, before and after."""
        return len(self.before) + len(self.after)


def special_texts(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """List the texts that a tokenizer reads as special tokens."""
    return {*tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values())}


def check_question(question: str, reserved: Collection[str]) -> None:
    """Check that a question can be put into a prompt.

    Args:
        question: the text.
        reserved: texts with a special meaning for the model.

    Raises:
        BadQuestion: the question is empty or not valid text, or contains a reserved text.
    """
    if not question.strip():
        raise BadQuestion("the question is empty", hint="ask something about the video")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise BadQuestion(f"the question {question!r} is not valid text", hint="give it in UTF-8") from error
    held = sorted(text for text in reserved if text.strip() and text in question)
    if held:
        raise BadQuestion(f"the question contains the model's special token {held[0]!r}", hint="rephrase the question")


def embed_prompt(
    prompt: Prompt, visual: Float[Tensor, "visual width"], embedding: nn.Module
) -> Float[Tensor, "1 length width"]:
    """Embed a prompt, with the visual tokens in their place."""
    before, after = (embed_text(ids, embedding, visual.device) for ids in (prompt.before, prompt.after))
    return torch.cat([before, visual[None].to(before), after], dim=1)


def embed_text(ids: tuple[int, ...], embedding: nn.Module, device: torch.device) -> Float[Tensor, "1 length width"]:
    """Embed token ids."""
    embedded: Tensor = embedding(torch.tensor(ids, dtype=torch.long, device=device))
    return embedded[None]
