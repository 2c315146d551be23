"""Many questions over the same visual tokens: what stands before a question runs through the language model once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidzip import Answer, VideoLlava
from vidzip.errors import BadModelFolder
from vidzip.models.prompting import embed_prompt, prompt_ids


def ask_all(
    model: VideoLlava, visual: Float[Tensor, "kept width"], questions: Sequence[str], max_new_tokens: int
) -> list[Answer]:
    """Answer questions greedily, as :meth:`vidzip.VideoLlava.ask` does one by one.

    Args:
        model: who answers.
        visual: projected visual tokens, (T, width); none, (0, width), asks without a video.
        questions: one or more.
        max_new_tokens: tokens of an answer, at most.

    Returns:
        The answers, in the order of the questions.

    Raises:
        BadQuestion, ContextTooLong, BadArgument: as :meth:`vidzip.VideoLlava.check_question`.
        BadModelFolder: the tokenizer begins the prompts of different questions differently.
    """
    for question in questions:
        model.check_question(question, len(visual), max_new_tokens)
    video_token_id = model.config.video_token_index
    prompts = [prompt_ids(model.tokenizer, question, video_token_id) for question in questions]
    behind = prompts[0].index(video_token_id) + 1
    if any(ids[:behind] != prompts[0][:behind] for ids in prompts):
        raise BadModelFolder(
            f"the tokenizer of {model.name} begins the prompts of different questions differently",
            hint="use the tokenizer files that came with the checkpoint",
        )
    embedding = model.model.get_input_embeddings()
    with torch.inference_mode():
        beginning = _Beginning(model, embed_prompt(prompts[0][:behind], video_token_id, visual, embedding))
        return [beginning.go_on(ids[behind:], max_new_tokens, visual_tokens=len(visual)) for ids in prompts]


class _Beginning:
    """What prompts have in common, in the language model's cache; each answer leaves the cache as it was."""

    def __init__(self, model: VideoLlava, embedded: Float[Tensor, "1 length width"]) -> None:
        self._model: Any = model.model
        self._tokenizer = model.tokenizer
        self._length = embedded.shape[1]
        self._cache = self._model(inputs_embeds=embedded, use_cache=True, logits_to_keep=1).past_key_values
        self._ends = model.eos_token_ids

    def go_on(self, prompt: list[int], max_new_tokens: int, *, visual_tokens: int) -> Answer:
        """Read the rest of a prompt, and answer by the most likely token each time."""
        following, answer = prompt, list[int]()
        while len(answer) < max_new_tokens and not (answer and answer[-1] in self._ends):
            embedded = self._model.get_input_embeddings()(torch.tensor([following], device=self._model.device))
            seen = self._model(inputs_embeds=embedded, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
            following = [int(seen.logits[0, -1].argmax())]
            answer += following
        self._cache.crop(self._length - self._cache.get_seq_length())  # so many tokens less
        has_ended = answer[-1] in self._ends
        new = answer[:-1] if has_ended else answer
        return Answer(
            text=str(self._tokenizer.decode(new, skip_special_tokens=True)).strip(),
            finish_reason="stop" if has_ended else "length",
            visual_tokens=visual_tokens,
            new_tokens=len(new),
        )
