"""The prompt as transformers' Video-LLaVA checkpoint was converted with, and the visual tokens in it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from vidzip.errors import BadModelFolder, BadQuestion

TEMPLATE = "USER: {video}\n{question} ASSISTANT:"


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str, video_token_id: int) -> list[int]:
    """Tokenise the whole prompt at once, with one video marker in it.

    Tokenised in pieces it would come out differently: a tokenizer that marks the start of a text, as Llama's does,
    would mark the start of every piece.

    Raises:
        BadQuestion: the question is empty or not valid text, or holds one of the model's own markers.
        BadModelFolder: the tokenizer does not know the video marker.
    """
    if not question.strip():
        raise BadQuestion("the question is empty", hint="ask something about the video")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise BadQuestion(f"the question {question!r} is not valid text", hint="give it in UTF-8") from error
    marker = str(tokenizer.convert_ids_to_tokens(video_token_id))
    known = {marker, *tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values())}
    markers = sorted(token for token in known if token.strip() and token in question)
    if markers:
        raise BadQuestion(
            f"the question holds the model's own marker {markers[0]!r}", hint="put the question in other words"
        )
    ids = list(tokenizer(TEMPLATE.format(video=marker, question=question))["input_ids"])
    if ids.count(video_token_id) != 1:
        raise BadModelFolder(
            f"the tokenizer turns the prompt into {ids.count(video_token_id)} video markers of id {video_token_id}, "
            f"not 1",
            hint="use the tokenizer files that came with the checkpoint",
        )
    return ids


def embed_prompt(
    ids: list[int], video_token_id: int, visual: Float[Tensor, "kept width"], embedding: nn.Module
) -> Float[Tensor, "1 length width"]:
    """Embed a prompt and put the visual tokens in the place of its video marker."""
    at = ids.index(video_token_id)
    text = embedding(torch.tensor(ids, device=visual.device))
    return torch.cat([text[:at], visual, text[at + 1 :]])[None]
