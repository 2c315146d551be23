"""Video-LLaVA: decode, encode, compress, pack, project, ask. Whoever follows one video reads downwards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, VideoLlavaForConditionalGeneration

from vidzip.compress import zip_frames
from vidzip.encoders import Preprocessor, observe
from vidzip.errors import BadModelFolder, ContextTooLong, EndsEarly, OutOfMemory, PlanMismatch, TowerMismatch
from vidzip.features import FrameFeatures
from vidzip.models.generating import FinishReason, generate_greedily
from vidzip.models.prompting import embed_prompt, prompt_ids
from vidzip.models.timing import Stopwatch
from vidzip.packing import PackedVideo, check_token_count, pack_zipped
from vidzip.planner import Budget, Plan, merge_repeats, plan, replan
from vidzip.video.decoding import Frames, decode_chunks
from vidzip.video.info import VideoInfo
from vidzip.video.options import Decoding
from vidzip.video.probing import identify, probe
from vidzip.video.resizing import Shape
from vidzip.video.sampling import Policy, check_count

Video = str | os.PathLike[str] | VideoInfo
Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said.

    Attributes:
        text: the answer.
        finish_reason: ``"stop"`` where the model ended it, ``"length"`` where ``max_new_tokens`` did.
        visual_tokens: visual tokens the language model saw, T.
        new_tokens: tokens generated, the end marker not counted.
        stage_seconds: time spent in each stage on the way here; decode, preprocess, encode and compress were spent
            once for all questions on the same packed video.
        warnings: what differs from what was asked for, in words.
    """

    text: str
    finish_reason: FinishReason
    visual_tokens: int
    new_tokens: int
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoLlava:
    """A Video-LLaVA of transformers' layout, ready to be asked; :func:`vidzip.load` makes one.

    Attributes:
        name: as it was loaded.
        model: the transformers model, in evaluation mode.
        tokenizer: its tokenizer.
        preprocessor: its pictures' preparation.
        batch_frames: frames that run through the tower at once.
    """

    name: str
    model: VideoLlavaForConditionalGeneration = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    preprocessor: Preprocessor = field(repr=False)
    batch_frames: int = 16

    @property
    def config(self) -> Any:
        """The checkpoint's config."""
        return self.model.config

    @property
    def tower(self) -> nn.Module:
        """The vision tower for video."""
        return self.model.get_submodule("model.video_tower")

    @property
    def projector(self) -> nn.Module:
        """The projector from the tower's width to the language model's."""
        return self.model.get_submodule("model.multi_modal_projector")

    @property
    def device(self) -> torch.device:
        """Where the tower runs."""
        return self.model.device

    @property
    def tokens_per_frame(self) -> int:
        """S: tokens of one uncompressed frame, CLS included."""
        vision = self.config.vision_config
        return int(vision.image_size // vision.patch_size) ** 2 + 1

    @property
    def feature_layer(self) -> int:
        """The encoder layer whose output the projector takes, counted from the end.

        Raises:
            BadModelFolder: the checkpoint joins several layers.
        """
        layer = self.config.vision_feature_layer
        if not isinstance(layer, int):
            raise BadModelFolder(
                f"{self.name} joins the vision layers {layer}", hint="give a checkpoint with a single feature layer"
            )
        # hidden_states also lists the embeddings, before the first layer.
        return layer if layer < 0 else layer - 1 - self.config.vision_config.num_hidden_layers

    @property
    def eos_token_ids(self) -> list[int]:
        """Tokens that end an answer, one or more."""
        eos = self.model.generation_config.eos_token_id
        if eos is None:
            eos = self.tokenizer.eos_token_id
        return list(eos) if isinstance(eos, list | tuple) else [int(eos)]

    @cached_property
    def tower_fingerprint(self) -> str:
        """A hash of the tower's weights: packed tokens mean something to the model with this tower only."""
        return _fingerprint(self.tower)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all weights: answers belong to these alone."""
        return _fingerprint(self.model)

    def pack(
        self,
        video: Video,
        plan: Plan,
        method: str = "visionzip",
        *,
        decoding: Decoding | None = None,
        on_progress: Progress | None = None,
        **options: Any,
    ) -> PackedVideo:
        """Decode the plan's frames, encode them, compress each to its tokens, and join them.

        A video that turns out to end before the last moment is planned anew over what there is of it, with a warning.

        Args:
            video: the file the plan was made for, or what :func:`vidzip.probe` said of it.
            plan: which moments, and how many tokens each.
            method: a name in :data:`vidzip.compress.METHODS`.
            decoding: how the file is decoded; ``Decoding()`` when left out. Where it is strict, damage is an error.
            on_progress: called as frames are encoded.
            options: the method's own keyword arguments.

        Raises:
            PlanMismatch: the plan was made for another video, or gives a frame more tokens than the tower has.
            VideoError: the file cannot be decoded at a moment of the plan.
            OutOfMemory: the device cannot hold the frames' features.
            BadArgument: an unknown method or option.
        """
        path = video.path if isinstance(video, VideoInfo) else os.fspath(video)
        self._check_plan(path, plan)
        decoding = decoding or Decoding()
        stopwatch = Stopwatch(self.device)
        with _memory_errors(f"packing {plan.num_frames} frames"):
            try:
                encoded = self._encode_at(path, plan, decoding, stopwatch, on_progress)
            except EndsEarly as error:
                if decoding.strict or plan.policy is None:
                    raise
                info = video if isinstance(video, VideoInfo) else probe(path)
                plan = replan(plan, info, error.ends_seconds, self.tokens_per_frame)
                encoded = self._encode_at(path, plan, decoding, stopwatch, on_progress)
            features, appears, warnings = encoded
            plan = merge_repeats(plan, appears, self.tokens_per_frame)
            plan = replace(plan, warnings=(*plan.warnings, *warnings))
            with stopwatch.stage("compress"):
                zipped = zip_frames(features, plan.tokens_per_frame, method, **options)
        return pack_zipped(
            zipped,
            plan,
            timestamps_seconds=tuple(dict.fromkeys(appears)),
            method=method,
            tower=self.tower_fingerprint,
            stage_seconds=stopwatch.seconds,
        )

    def encode(self, frames: Frames) -> FrameFeatures:
        """Run decoded frames through the tower, a batch at a time."""
        parts = []
        for batch in torch.split(frames.pixels, self.batch_frames):
            whole = batch.to(self.device) if self._resizes_on_device else batch
            pixels = self.preprocessor(whole, device=self.device, dtype=self.model.dtype)
            parts.append(self._encode_batch(pixels))
        return FrameFeatures.cat(parts)

    def project(self, packed: PackedVideo) -> Float[Tensor, "kept width"]:
        """Turn packed tokens, (T, D), into the language model's embeddings, (T, width).

        Raises:
            TowerMismatch: another tower made the tokens.
            PlanMismatch: there are not exactly the tokens that the plan gives.
        """
        if packed.tower != self.tower_fingerprint:
            raise TowerMismatch(
                f"the video was packed by the tower {packed.tower}, but {self.name} has {self.tower_fingerprint}",
                hint="pack it again with this model",
            )
        check_token_count(packed.num_tokens, packed.plan)
        with torch.no_grad():
            projected: Tensor = self.projector(packed.tokens.to(self.device, self.model.dtype))
        return projected

    def check_question(self, question: str, visual_tokens: int, max_new_tokens: int = 64) -> None:
        """Make sure that a question can be put beside so many visual tokens, before any work is done for it.

        Raises:
            BadQuestion: an empty question, or one with the model's own markers.
            ContextTooLong: visual tokens, prompt and answer pass the language model's context.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        max_new_tokens = check_count(max_new_tokens, "max_new_tokens")
        prompt_tokens = len(prompt_ids(self.tokenizer, question, self.config.video_token_index)) - 1
        context = self.config.text_config.max_position_embeddings
        if visual_tokens + prompt_tokens + max_new_tokens > context:
            raise ContextTooLong(
                f"{visual_tokens} visual, {prompt_tokens} prompt and {max_new_tokens} new tokens pass the model's "
                f"context of {context}",
                hint="take fewer frames or tokens, or lower --max-new-tokens",
            )

    def unknown_words(self, question: str) -> tuple[str, ...]:
        """The words of a question that the tokenizer has no token for: the model cannot tell one from another.

        A tokenizer that spells what it does not know has none, nor has one that cannot say where a token stands.
        """
        if not self.tokenizer.is_fast or self.tokenizer.unk_token_id is None:
            return ()
        encoded = self.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        unknown = (question[start:end] for token, (start, end) in pairs if token == self.tokenizer.unk_token_id)
        return tuple(dict.fromkeys(word for word in unknown if any(letter.isalnum() for letter in word)))

    def embed(self, packed: PackedVideo, question: str) -> Float[Tensor, "1 length width"]:
        """Build what the language model is given: the prompt's embeddings, the visual tokens in their place.

        Raises:
            BadQuestion: an empty question, or one with the model's own markers.
            TowerMismatch, PlanMismatch: as :meth:`project`.
        """
        video_token_id = self.config.video_token_index
        ids = prompt_ids(self.tokenizer, question, video_token_id)
        with torch.no_grad():
            return embed_prompt(ids, video_token_id, self.project(packed), self.model.get_input_embeddings())

    def ask(self, packed: PackedVideo, question: str, max_new_tokens: int = 64) -> Answer:
        """Answer a question about a packed video, greedily.

        Raises:
            BadQuestion: an empty question, or one with the model's own markers.
            ContextTooLong: prompt and answer pass the language model's context.
            TowerMismatch: another tower made the packed tokens.
            OutOfMemory: the device cannot hold the prompt and the answer.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        self.check_question(question, packed.num_tokens, max_new_tokens)
        stopwatch = Stopwatch(self.device)
        with _memory_errors(f"answering over {packed.num_tokens} visual tokens"):
            with stopwatch.stage("project"):
                inputs_embeds = self.embed(packed, question)
            generated = generate_greedily(
                self.model,
                inputs_embeds,
                max_new_tokens=max_new_tokens,
                eos_token_ids=self.eos_token_ids,
                pad_token_id=self._pad_token_id(),
                stopwatch=stopwatch,
            )
        return Answer(
            text=str(self.tokenizer.decode(generated.ids, skip_special_tokens=True)).strip(),
            finish_reason=generated.finish_reason,
            visual_tokens=packed.num_tokens,
            new_tokens=len(generated.ids),
            stage_seconds={**packed.stage_seconds, **stopwatch.seconds},
            warnings=(*packed.warnings, *self._warnings(question)),
        )

    def ask_full(
        self,
        video: Video,
        question: str,
        num_frames: int = 8,
        max_new_tokens: int = 64,
        *,
        policy: Policy = "middle",
        on_progress: Progress | None = None,
    ) -> Answer:
        """Answer with every token of every frame, the uncompressed model, through the same code.

        Raises:
            As :func:`vidzip.plan`, :meth:`pack` and :meth:`ask`.
        """
        num_frames = check_count(num_frames, "num_frames")
        budget = Budget(total_tokens=num_frames * self.tokens_per_frame, num_frames=num_frames)
        whole = plan(video, budget, self.tokens_per_frame, policy=policy)
        self.check_question(question, whole.total_tokens, max_new_tokens)
        return self.ask(self.pack(video, whole, on_progress=on_progress), question, max_new_tokens)

    def _check_plan(self, path: str, plan: Plan) -> None:
        identity = identify(path)
        if plan.video_identity is None:
            raise PlanMismatch(
                f"the plan does not say which video it was made for; {path!r} is {identity}",
                hint="make it with plan(path) or plan(probe(path))",
            )
        if identity != plan.video_identity:
            raise PlanMismatch(
                f"the plan was made for the video {plan.video_identity}, but {path!r} is {identity}",
                hint="make a plan for this video",
            )
        most = max(plan.tokens_per_frame)
        if most > self.tokens_per_frame:
            raise PlanMismatch(
                f"the plan gives a frame {most} tokens, but {self.name} has {self.tokens_per_frame} a frame",
                hint=f"plan with max_tokens_per_frame={self.tokens_per_frame}",
            )

    def _encode_at(
        self, path: str, plan: Plan, decoding: Decoding, stopwatch: Stopwatch, on_progress: Progress | None
    ) -> tuple[FrameFeatures, list[float], list[str]]:
        """Encode the frames of a plan while later ones are decoded, each once.

        Returns:
            Their features; when the frame shown at each moment appears, in seconds; what is wrong with the file.
        """
        appears: list[float] = []
        parts: list[FrameFeatures] = []
        warnings: dict[str, None] = {}
        shape = Shape() if self._resizes_on_device else self.preprocessor.shape
        chunks = decode_chunks(
            path,
            plan.timestamps_seconds,
            self.batch_frames,
            size=shape.size,
            crop=shape.crop,
            resize=shape.resize,
            backend=decoding.backend,
            workers=decoding.workers,
            strict=decoding.strict,
            time_limit_seconds=decoding.time_limit_seconds,
        )
        with closing(chunks):
            for chunk in _timed(chunks, stopwatch):
                shown = chunk.timestamps_seconds
                before = (appears[-1] if appears else None, *shown)
                new = [i for i, seconds in enumerate(shown) if seconds != before[i]]
                appears += shown
                warnings |= dict.fromkeys(chunk.warnings)
                if not new:
                    continue
                with stopwatch.stage("preprocess"):
                    prepared = self._prepare(chunk.pixels[new])
                with stopwatch.stage("encode"):
                    parts.append(self._encode_batch(prepared))
                if on_progress:
                    on_progress("encode", len(appears), plan.num_frames)
        return FrameFeatures.cat(parts), appears, list(warnings)

    @property
    def _resizes_on_device(self) -> bool:
        # CUDA resizes where it encodes; elsewhere the CPU does, since Apple's GPUs may lack antialiased bicubic.
        return self.device.type == "cuda"

    def _prepare(self, pixels: UInt8[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames 3 side side"]:
        """Bring frames, which decoding has resized unless the device does, to what the tower takes."""
        if self._resizes_on_device:
            return self.preprocessor(pixels.to(self.device), dtype=self.model.dtype)
        return self.preprocessor.normalise(pixels, self.device, self.model.dtype)

    def _encode_batch(self, pixel_values: Tensor) -> FrameFeatures:
        return observe(self.tower, pixel_values, self.feature_layer)

    def _warnings(self, question: str) -> Iterator[str]:
        unknown = self.unknown_words(question)
        if unknown:
            yield f"{self.name} does not know {', '.join(map(repr, unknown))}"

    def _pad_token_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return self.eos_token_ids[0] if pad is None else int(pad)


@contextmanager
def _memory_errors(work: str) -> Iterator[None]:
    """Say what did not fit a device's memory, and what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{work} does not fit the device's memory",
            hint="take fewer frames or tokens, a half-precision dtype, or another device",
        ) from error


def _timed(chunks: Iterator[Frames], stopwatch: Stopwatch) -> Iterator[Frames]:
    """Count the time that each next chunk is waited for towards decoding."""
    while True:
        with stopwatch.stage("decode"):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _fingerprint(module: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
