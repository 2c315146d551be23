"""Video-LLaVA in transformers' port: ``LanguageBind/Video-LLaVA-7B-hf`` and the built-in models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, VideoLlavaConfig, VideoLlavaForConditionalGeneration

from vidzip.encoders import FramePreprocessor, Preprocessor
from vidzip.errors import BadModelFolder
from vidzip.models.checkpoint import Checkpoint
from vidzip.models.family import ModelFamily
from vidzip.models.placing import Placement
from vidzip.models.prompting import Prompt, check_question, special_texts
from vidzip.models.weights import weight_files

TEMPLATE = "USER: {video}\n{question} ASSISTANT:"
"""The prompt of transformers' Video-LLaVA."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoLlava(ModelFamily):
    """transformers' Video-LLaVA. The whole prompt is tokenized at once, with one special token for the video."""

    title: ClassVar[str] = (
        "transformers' Video-LLaVA (model_type 'video_llava', such as LanguageBind/Video-LLaVA-7B-hf)"
    )
    chat_turn_template: ClassVar[str] = "{end}USER: {question} ASSISTANT:"

    @classmethod
    def matches(cls, checkpoint: Checkpoint) -> bool:
        """Whether the config's ``model_type`` is transformers' Video-LLaVA."""
        return checkpoint.config.get("model_type") == VideoLlavaConfig.model_type

    @classmethod
    def load(cls, checkpoint: Checkpoint, placement: Placement) -> Self:
        """Load safetensors in transformers' layout, see :meth:`ModelFamily.load`."""
        folder = checkpoint.folder
        config, outline = checkpoint.outline(
            VideoLlavaForConditionalGeneration, lambda: VideoLlavaConfig.from_dict(checkpoint.config)
        )
        preprocessor = Preprocessor.from_folder(folder)
        tokenizer = checkpoint.tokenizer_for(config)
        if any(file.suffix != ".safetensors" for file in weight_files(folder)):
            raise BadModelFolder(
                f"{folder} holds pickled weights, which are read only from an original checkpoint",
                hint="use the checkpoint's safetensors files",
            )
        network = checkpoint.load_weights(outline, placement)
        # transformers knows weights by old and new names, and of two for one parameter silently takes the last.
        parameters = len(list(outline.named_parameters(remove_duplicate=False)))
        if len(checkpoint.weight_names) > parameters:
            raise BadModelFolder(
                f"{folder} holds {len(checkpoint.weight_names)} weights for {parameters} parameters: some have two names",
                hint="download the checkpoint again",
            )
        return cls(network=network, tokenizer=tokenizer, preprocessor=check_picture_size(folder, preprocessor, config))

    @property
    def tower(self) -> nn.Module:
        """The vision tower for video."""
        return self.network.get_submodule("model.video_tower")

    @property
    def feature_layer(self) -> int:
        """The encoder layer whose output is projected, negative from the end."""
        layer = self.config.vision_feature_layer
        if not isinstance(layer, int):
            raise BadModelFolder(
                f"the checkpoint joins the vision layers {layer}", hint="give a checkpoint with a single feature layer"
            )
        # hidden_states also lists the embeddings, before the first layer.
        return layer if layer < 0 else layer - 1 - self.config.vision_config.num_hidden_layers

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of patches of one frame."""
        vision = self.config.vision_config
        side = int(vision.image_size // vision.patch_size)
        return side, side

    def project(
        self, tokens: Float[Tensor, "kept dim"], frame_of: Int[Tensor, " kept"] | None = None
    ) -> Float[Tensor, "visual width"]:
        """Run the projector; Video-LLaVA has no layout tokens."""
        projected: Tensor = self.network.get_submodule("model.multi_modal_projector")(tokens)
        return projected

    def prompt(self, question: str) -> Prompt:
        """Tokenize the first question about a video."""
        video = self.config.video_token_index
        ids = prompt_ids(self.tokenizer, question, video)
        place = ids.index(video)
        return Prompt(before=tuple(ids[:place]), after=tuple(ids[place + 1 :]))

    @property
    def reserved_texts(self) -> set[str]:
        """Texts with a special meaning for the model, the video token's included."""
        return {*super().reserved_texts, video_text(self.tokenizer, self.config.video_token_index)}


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str, video_token_id: int) -> list[int]:
    """Tokenize a whole prompt with one video token.

    In pieces it would come out differently: a tokenizer that marks the start of text, as Llama's does, would mark the
    start of every piece.

    Raises:
        BadQuestion: the question is empty or not valid text, or contains a special token.
        BadModelFolder: the tokenizer does not know the video token.
    """
    video = video_text(tokenizer, video_token_id)
    check_question(question, {video, *special_texts(tokenizer)})
    ids = list(tokenizer(TEMPLATE.format(video=video, question=question))["input_ids"])
    if ids.count(video_token_id) != 1:
        raise BadModelFolder(
            f"the tokenizer turns the prompt into {ids.count(video_token_id)} video tokens of id {video_token_id}, not 1",
            hint="use the tokenizer files that came with the checkpoint",
        )
    return ids


def video_text(tokenizer: PreTrainedTokenizerBase, video_token_id: int) -> str:
    """The text of the video token."""
    return str(tokenizer.convert_ids_to_tokens(video_token_id))


def check_picture_size(folder: object, preprocessor: FramePreprocessor, config: VideoLlavaConfig) -> FramePreprocessor:
    """Check that frames are cropped to the size that the tower takes.

    Raises:
        BadModelFolder: they are not.
    """
    vision: Any = config.vision_config
    size = vision.image_size
    if (preprocessor.crop_height, preprocessor.crop_width) != (size, size):
        raise BadModelFolder(
            f"{folder} crops pictures to {preprocessor.crop_width}x{preprocessor.crop_height}, but its tower takes "
            f"{size}x{size}",
            hint="use the preprocessor settings that came with the checkpoint",
        )
    return preprocessor
