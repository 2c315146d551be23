"""What each Video-LLaVA is told around the visual tokens, as ids: the prompt of its own code, and turns of a chat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from vidzip.errors import BadModelFolder, BadQuestion

TEMPLATE = "USER: {video}\n{question} ASSISTANT:"
"""The prompt of transformers' Video-LLaVA."""

TURN = "{end}USER: {question} ASSISTANT:"
"""What follows an answer where a chat goes on, in both models: the end of the answer, then the next question."""

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
"""What the original Video-LLaVA is told first (its conversation "llava_v1")."""

IMAGE_MARKER = "<image>"
"""Where the original's prompt holds a frame; text for its tokenizer, which is not asked about it."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A question as ids, before and behind the visual tokens.

    Attributes:
        before: what stands before the visual tokens, the start of the text included.
        after: what stands behind them, up to where the answer begins.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of text, before and behind."""
        return len(self.before) + len(self.after)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompting(ABC):
    """How a model is asked.

    Attributes:
        tokenizer: the model's.
    """

    tokenizer: PreTrainedTokenizerBase

    @abstractmethod
    def opening(self, question: str) -> Prompt:
        """The first question about a video.

        Raises:
            BadQuestion: the question is empty or not valid text, or holds one of the model's own markers.
            BadModelFolder: the tokenizer does not fit the model.
        """

    def turn(self, question: str) -> tuple[int, ...]:
        """What follows an answer where the chat goes on with another question: the answer's end mark comes first.

        Raises:
            BadQuestion, BadModelFolder: as :meth:`opening`.
        """
        check_question(question, self.markers)
        end = str(self.tokenizer.eos_token)
        ids = self.tokenizer(TURN.format(end=end, question=question), add_special_tokens=False)["input_ids"]
        if not ids or ids[0] != self.tokenizer.eos_token_id:
            raise BadModelFolder(
                f"the tokenizer does not turn its end mark {end!r} into one token",
                hint="use the tokenizer files that came with the checkpoint",
            )
        return tuple(ids)

    @property
    def markers(self) -> set[str]:
        """Texts that mean something else than themselves to the model."""
        return markers_of(self.tokenizer)


@dataclass(frozen=True, kw_only=True, eq=False)
class PortPrompting(Prompting):
    """How transformers' port is asked: the whole prompt is tokenised at once, with one marker for the video.

    Attributes:
        video_token_id: the marker's.
    """

    video_token_id: int

    def opening(self, question: str) -> Prompt:
        """The first question about a video, as :meth:`Prompting.opening` says."""
        ids = prompt_ids(self.tokenizer, question, self.video_token_id)
        at = ids.index(self.video_token_id)
        return Prompt(before=tuple(ids[:at]), after=tuple(ids[at + 1 :]))


@dataclass(frozen=True, kw_only=True, eq=False)
class OriginalPrompting(Prompting):
    """How the original is asked: a text for the system first; what stands around the frames is tokenised apart.

    Its code splits the prompt at every frame's ``<image>`` and tokenises the pieces each by itself, without the start
    of a text in all but the first. The eight frames stand side by side, so that two pieces hold text.
    """

    def opening(self, question: str) -> Prompt:
        """The first question about a video, as :meth:`Prompting.opening` says."""
        check_question(question, self.markers)
        start = self.tokenizer.bos_token_id
        pieces = [list(self.tokenizer(text)["input_ids"]) for text in (f"{SYSTEM} USER: ", f"\n{question} ASSISTANT:")]
        if start is None or any(ids[:1] != [start] for ids in pieces):
            raise BadModelFolder(
                "the tokenizer does not begin texts with its start mark",
                hint="use the tokenizer files that came with the checkpoint",
            )
        before, after = pieces
        return Prompt(before=tuple(before), after=tuple(after[1:]))

    @property
    def markers(self) -> set[str]:
        """Texts that mean something else than themselves to the model; where a frame stands, among them."""
        return {*super().markers, IMAGE_MARKER}


def markers_of(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Texts that a tokenizer reads as marks of its own."""
    return {*tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values())}


def check_question(question: str, markers: set[str]) -> None:
    """Make sure that a question can be put.

    Raises:
        BadQuestion: it is empty or not valid text, or holds one of the markers.
    """
    if not question.strip():
        raise BadQuestion("the question is empty", hint="ask something about the video")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise BadQuestion(f"the question {question!r} is not valid text", hint="give it in UTF-8") from error
    held = sorted(token for token in markers if token.strip() and token in question)
    if held:
        raise BadQuestion(
            f"the question holds the model's own marker {held[0]!r}", hint="put the question in other words"
        )


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str, video_token_id: int) -> list[int]:
    """Tokenise the whole prompt of transformers' port at once, with one video marker in it.

    Tokenised in pieces it would come out differently: a tokenizer that marks the start of a text, as Llama's does,
    would mark the start of every piece.

    Raises:
        BadQuestion: the question is empty or not valid text, or holds one of the model's own markers.
        BadModelFolder: the tokenizer does not know the video marker.
    """
    marker = str(tokenizer.convert_ids_to_tokens(video_token_id))
    check_question(question, {marker, *markers_of(tokenizer)})
    ids = list(tokenizer(TEMPLATE.format(video=marker, question=question))["input_ids"])
    if ids.count(video_token_id) != 1:
        raise BadModelFolder(
            f"the tokenizer turns the prompt into {ids.count(video_token_id)} video markers of id {video_token_id}, "
            f"not 1",
            hint="use the tokenizer files that came with the checkpoint",
        )
    return ids


def embed_prompt(
    prompt: Prompt, visual: Float[Tensor, "kept width"], embedding: nn.Module
) -> Float[Tensor, "1 length width"]:
    """Embed a prompt, its visual tokens in their place."""
    before, after = (embed_text(ids, embedding, visual.device) for ids in (prompt.before, prompt.after))
    return torch.cat([before, visual[None].to(before), after], dim=1)


def embed_text(ids: tuple[int, ...], embedding: nn.Module, device: torch.device) -> Float[Tensor, "1 length width"]:
    """Embed ids."""
    embedded: Tensor = embedding(torch.tensor(ids, dtype=torch.long, device=device))
    return embedded[None]
