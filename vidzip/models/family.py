"""What a model family provides. Everything else (packing, sessions, chat, batches, generation) works for any family."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from vidzip.encoders import FramePreprocessor
from vidzip.errors import BadModelFolder
from vidzip.models.checkpoint import Checkpoint
from vidzip.models.placing import Placement
from vidzip.models.prompting import Prompt, check_question, special_texts
from vidzip.video.sampling import Policy


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFamily(ABC):
    """A loaded checkpoint of one family of video LLMs.

    A new family is one file with a subclass, and a line in :data:`vidzip.models.families.FAMILIES`.

    Attributes:
        network: the transformers model, in evaluation mode: vision tower, projector and language model.
        tokenizer: its tokenizer.
        preprocessor: prepares frames for its tower.
    """

    title: ClassVar[str]
    """The family's name and an example of a checkpoint, for error messages."""

    sampling_policy: ClassVar[Policy] = "middle"
    """How the family's own code chooses frames, see :func:`vidzip.sample`."""

    chat_turn_template: ClassVar[str]
    """The text after an answer when a chat continues, with the fields ``{end}`` (end of the answer) and ``{question}``."""

    network: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    preprocessor: FramePreprocessor = field(repr=False)

    @classmethod
    @abstractmethod
    def matches(cls, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint belongs to this family, by its config (``model_type``, keys) and weight names."""

    @classmethod
    @abstractmethod
    def load(cls, checkpoint: Checkpoint, placement: Placement) -> Self:
        """Load a checkpoint; every weight must find its place.

        Raises:
            BadModelFolder: a file, a setting or a weight is missing or does not fit.
            NotInstalled: the tokenizer needs an optional library.
        """

    # Vision.

    @property
    @abstractmethod
    def tower(self) -> nn.Module:
        """The vision tower for frames."""

    @property
    @abstractmethod
    def feature_layer(self) -> int:
        """The tower's encoder layer whose output is projected, negative from the end.

        Raises:
            BadModelFolder: the checkpoint joins several layers.
        """

    @property
    def frames_per_clip(self) -> int:
        """Frames that the tower encodes together; 1 if each frame is encoded alone."""
        return int(getattr(self.tower, "frames_per_clip", 1))

    @property
    def config(self) -> Any:
        """The checkpoint's config."""
        return self.network.config

    @property
    @abstractmethod
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of patches that the tower makes of one frame."""

    @property
    def has_cls(self) -> bool:
        """Whether the language model may see the tower's CLS token; if not, it only scores the patches."""
        return True

    @property
    def tokens_per_frame(self) -> int:
        """S: source tokens of one frame, CLS included if :attr:`has_cls`."""
        return math.prod(self.patch_grid) + self.has_cls

    # Language.

    @abstractmethod
    def project(
        self, tokens: Float[Tensor, "kept dim"], frame_of: Int[Tensor, " kept"] | None = None
    ) -> Float[Tensor, "visual width"]:
        """Turn packed tokens into embeddings of the language model, layout tokens (e.g. newlines) included.

        Gradients are recorded as usual.

        Args:
            tokens: tokens of all frames, in order, (T, D).
            frame_of: the frame of each token, ascending, (T,); None if they are of one frame.
        """

    def count_visual_tokens(self, tokens_per_frame: Sequence[int]) -> int:
        """Count the embeddings that :meth:`project` returns, layout tokens included.

        Args:
            tokens_per_frame: packed tokens of each frame, (F,).
        """
        return sum(tokens_per_frame)

    @abstractmethod
    def prompt(self, question: str) -> Prompt:
        """Tokenize the first question about a video.

        Raises:
            BadQuestion: the question is empty or not valid text, or contains a special token.
            BadModelFolder: the tokenizer does not fit the model.
        """

    def chat_turn(self, question: str) -> tuple[int, ...]:
        """Tokenize what follows an answer when the chat continues: the end of the answer, then the next question.

        Raises:
            BadQuestion: as :meth:`prompt`.
            BadModelFolder: the tokenizer splits its end token.
        """
        check_question(question, self.reserved_texts)
        end = str(self.tokenizer.eos_token)
        text = self.chat_turn_template.format(end=end, question=question)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids or ids[0] != self.tokenizer.eos_token_id:
            raise BadModelFolder(
                f"the tokenizer does not turn its end token {end!r} into one id",
                hint="use the tokenizer files that came with the checkpoint",
            )
        return tuple(ids)

    @property
    def reserved_texts(self) -> set[str]:
        """Texts with a special meaning for the model; no question may contain one."""
        return special_texts(self.tokenizer)

    def position_ids(
        self, inputs_embeds: Float[Tensor, "prompts length width"], attention_mask: Int[Tensor, "prompts length"]
    ) -> Int[Tensor, "..."] | None:
        """Give the positions of a batch of prompts, padded on the left; None if the network counts them itself."""
        return None

    @property
    def stop_token_ids(self) -> list[int]:
        """Token ids that end an answer, one or more."""
        generation: Any = self.network.generation_config
        stops = generation.eos_token_id
        if stops is None:
            stops = self.tokenizer.eos_token_id
        return list(stops) if isinstance(stops, list | tuple) else [int(stops)]
