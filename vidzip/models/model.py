"""A video LLM of any family: encode, compress, pack, project, ask. Follow one video from top to bottom."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from vidzip.compress import Method, describe, make_method, zip_frames
from vidzip.decoding import PlannedFrames
from vidzip.encoders import CompiledTower, FramePreprocessor
from vidzip.errors import PlanMismatch, TowerMismatch
from vidzip.features import VisionFeatures
from vidzip.models.encoding import Progress, VisionEncoder
from vidzip.models.family import ModelFamily
from vidzip.models.language import Answer, LanguageModel
from vidzip.models.memory import BATCH_FRAMES, TOWER_MEMORY_BYTES, activation_bytes, memory_errors
from vidzip.models.session import BATCH_QUESTIONS, Session
from vidzip.models.timing import Stopwatch
from vidzip.models.weights import fingerprint, stored_weights, tower_fingerprint
from vidzip.packing import PackedVideo, check_token_count, pack_zipped
from vidzip.planner import Budget, Plan, plan
from vidzip.video.decoding import Frames
from vidzip.video.info import VideoInfo
from vidzip.video.options import DecodeOptions
from vidzip.video.probing import identify
from vidzip.video.sampling import Policy, check_count

Video = str | os.PathLike[str] | VideoInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoModel:
    """A video LLM, ready to answer questions; :func:`vidzip.load` makes one. It works the same for every family.

    Attributes:
        name: the name it was loaded by.
        family: the loaded checkpoint: network, tokenizer, preprocessor, prompts.
        folder: the checkpoint's folder; None if the weights were made in memory.
        max_batch_frames: limit on the frames that run through the tower at once; rounded down to whole clips, one at
            least.
        tower_memory_bytes: limit on the activations of the tower; fewer frames run at once if they would need more.
        compile_tower: compile the tower with torch at its first use, which takes about a minute and pays if much is
            encoded. Batches are then always full, so that one graph serves.
    """

    name: str
    family: ModelFamily = field(repr=False)
    folder: Path | None = None
    max_batch_frames: int = BATCH_FRAMES
    tower_memory_bytes: int = TOWER_MEMORY_BYTES
    compile_tower: bool = False

    # The parts.

    @property
    def network(self) -> Any:
        """The transformers model."""
        return self.family.network

    @property
    def config(self) -> Any:
        """The checkpoint's config."""
        return self.family.config

    @property
    def tower(self) -> nn.Module:
        """The vision tower."""
        return self.family.tower

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer."""
        return self.family.tokenizer

    @property
    def preprocessor(self) -> FramePreprocessor:
        """Prepares frames for the tower."""
        return self.family.preprocessor

    @cached_property
    def language(self) -> LanguageModel:
        """The language model."""
        return LanguageModel(name=self.name, family=self.family)

    @property
    def encoder(self) -> VisionEncoder:
        """The tower with its preprocessing."""
        return VisionEncoder(
            tower=self.tower,
            preprocessor=self.preprocessor,
            layer=self.family.feature_layer,
            frames_per_clip=self.frames_per_clip,
            batch_frames=self.batch_frames,
            device=self.device,
            dtype=self.dtype,
            has_cls=self.family.has_cls,
            compiled=self._compiled if self.compile_tower else None,
        )

    @cached_property
    def _compiled(self) -> CompiledTower:
        return CompiledTower(self.tower)

    # Its numbers.

    @property
    def device(self) -> torch.device:
        """The tower's device."""
        for module in self.tower.modules():  # accelerate attaches hooks to the modules that it places
            device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
            if device is not None:
                return torch.device(device)
        device = self.network.device
        return torch.device(device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the tower, and of packed tokens."""
        return next(self.tower.parameters()).dtype

    @property
    def tokens_per_frame(self) -> int:
        """S: source tokens of one frame, CLS included if the family uses it."""
        return self.family.tokens_per_frame

    @property
    def frames_per_clip(self) -> int:
        """Frames that the tower encodes together; 1 if each frame is encoded alone."""
        return self.family.frames_per_clip

    @property
    def batch_frames(self) -> int:
        """Frames that run through the tower at once: whole clips, within the memory limit."""
        fitting = min(self.max_batch_frames, self.tower_memory_bytes // self.activation_bytes_per_frame)
        return max(1, fitting // self.frames_per_clip) * self.frames_per_clip

    @property
    def activation_bytes_per_frame(self) -> int:
        """Bound on the tower's activations for one frame."""
        return activation_bytes(self.config.vision_config, self.tokens_per_frame, self.dtype)

    @property
    def sampling_policy(self) -> Policy:
        """How the family's own code chooses frames, see :func:`vidzip.sample`."""
        return self.family.sampling_policy

    @property
    def commit(self) -> str | None:
        """The hub commit that it was loaded from; None if it is not from the hub."""
        folder = self.folder
        return folder.name if folder is not None and folder.parent.name == "snapshots" else None

    @cached_property
    def tower_fingerprint(self) -> str:
        """A hash of the tower's weights: packed tokens are valid only for models with this tower.

        For a model from a folder, weights are hashed as they are stored: the hash does not depend on precision, device,
        checkpoint layout or projector.
        """
        return fingerprint(self.tower) if self.folder is None else tower_fingerprint(stored_weights(self.folder))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all weights, as they are in memory."""
        return fingerprint(self.network)

    # From a video to a packed video.

    def plan(self, video: Video, budget: Budget | None = None, **options: Any) -> Plan:
        """Plan frames for this model: its tokens per frame and frames per clip are filled in.

        Args:
            video: a file, or its :class:`~vidzip.VideoInfo`.
            budget: limits; ``Budget()`` by default.
            options: policy, start, end, snap, costs and method, as :func:`vidzip.plan` takes them.

        Raises:
            As :func:`vidzip.plan`.
        """
        return plan(video, budget, self.tokens_per_frame, frames_per_clip=self.frames_per_clip, **options)

    def pack(
        self,
        video: Video,
        plan: Plan,
        method: str | Method = "visionzip",
        *,
        decoding: DecodeOptions | None = None,
        on_progress: Progress | None = None,
        **options: Any,
    ) -> PackedVideo:
        """Decode the plan's frames, encode them while later ones are decoded, and compress them.

        A video that ends before the plan's last moment is re-planned over its readable part, with a warning, before
        anything is encoded.

        Args:
            video: the file that the plan was made for, or its :class:`~vidzip.VideoInfo`.
            plan: moments and tokens; a method across frames redistributes the tokens.
            method: a name in :data:`vidzip.compress.METHODS`, or a method with its options.
            decoding: how the file is decoded; ``DecodeOptions()`` by default.
            on_progress: called as frames are encoded.
            options: the method's options, if it is given by name.

        Raises:
            PlanMismatch: the plan was made for another video, or gives a frame more tokens than the tower makes.
            VideoError: the file cannot be decoded at a moment of the plan.
            OutOfMemory: the device cannot hold the frames' features.
            BadArgument: an unknown method or option, or token counts that the method cannot keep.
        """
        chosen = self._check_method(make_method(method, options), plan)
        _check_identity(video, plan)
        stopwatch = Stopwatch(self.device)

        def show(done: int) -> None:
            if on_progress:
                on_progress("encode", done, frames.num_planned)

        with memory_errors(f"packing {plan.num_frames} frames"):
            with stopwatch.stage("decode"):
                frames = PlannedFrames(
                    video,
                    replace(plan, frames_per_clip=self.frames_per_clip),
                    self.preprocessor.shape,
                    decoding,
                    max_tokens_per_frame=self.tokens_per_frame,
                    chunk_frames=self.batch_frames,
                )
            with closing(frames):
                features = self.encoder.encode(stopwatch.timed("decode", frames), stopwatch, show)
            return self._compress(features, frames.plan, frames.timestamps_seconds, chosen, stopwatch)

    def pack_frames(
        self, frames: Frames, plan: Plan, method: str | Method = "visionzip", **options: Any
    ) -> PackedVideo:
        """Encode and compress frames that :func:`vidzip.decoding.decode_plan` decoded.

        Args:
            frames: the frames of the plan.
            plan: the plan that fits them.
            method: a name in :data:`vidzip.compress.METHODS`, or a method with its options.
            options: the method's options, if it is given by name.

        Raises:
            PlanMismatch: the plan has another number of frames, or gives a frame more tokens than the tower makes.
            OutOfMemory: the device cannot hold the frames' features.
            BadArgument: an unknown method or option, or token counts that the method cannot keep.
        """
        chosen = self._check_method(make_method(method, options), plan)
        stopwatch = Stopwatch(self.device)
        features = self.encode(frames, stopwatch)
        return self.pack_features(
            features,
            plan,
            chosen,
            timestamps_seconds=frames.timestamps_seconds,
            stage_seconds=stopwatch.seconds,
        )

    def encode(self, frames: Frames | Iterable[Frames], stopwatch: Stopwatch | None = None) -> VisionFeatures:
        """Run frames through the tower, in batches.

        Args:
            frames: decoded frames, whole or in chunks; at full size, or in the shape of :attr:`preprocessor`.
            stopwatch: counts the stages ``preprocess`` and ``encode``.

        Raises:
            OutOfMemory: the device cannot hold the frames' features.
            BadArgument: there are no frames, or they were resized for another model.
        """
        with memory_errors("encoding the frames"):
            return self.encoder.encode(frames, stopwatch)

    def pack_features(
        self,
        features: VisionFeatures,
        plan: Plan,
        method: str | Method = "visionzip",
        *,
        timestamps_seconds: Sequence[float],
        stage_seconds: Mapping[str, float] | None = None,
        **options: Any,
    ) -> PackedVideo:
        """Compress features that :meth:`encode` made, any number of times.

        Args:
            features: of the frames.
            plan: the frames' plan, or another one with the same moments.
            method: a name in :data:`vidzip.compress.METHODS`, or a method with its options.
            timestamps_seconds: when each frame appears on screen, (F,).
            stage_seconds: seconds spent so far in each stage.
            options: the method's options, if it is given by name.

        Raises:
            PlanMismatch: the plan has another number of frames, or gives a frame more tokens than the tower makes.
            OutOfMemory: the device cannot hold what the method needs.
            BadArgument: an unknown method or option, or token counts that the method cannot keep.
        """
        chosen = self._check_method(make_method(method, options), plan)
        if plan.num_frames != features.num_frames:
            raise PlanMismatch(
                f"the plan has {plan.num_frames} frames, but the features are of {features.num_frames}",
                hint="give the plan of these frames, or one with the same moments",
            )
        plan = replace(plan, frames_per_clip=self.frames_per_clip)
        stopwatch = Stopwatch(self.device, stage_seconds)
        with memory_errors(f"packing {plan.num_frames} frames"):
            return self._compress(features, plan, tuple(timestamps_seconds), chosen, stopwatch)

    def _compress(
        self,
        features: VisionFeatures,
        plan: Plan,
        timestamps_seconds: tuple[float, ...],
        method: Method,
        stopwatch: Stopwatch,
    ) -> PackedVideo:
        with stopwatch.stage("compress"):
            zipped = zip_frames(features, plan.tokens_per_frame, method)
        return pack_zipped(
            zipped,
            plan,
            timestamps_seconds=timestamps_seconds,
            method=describe(method),
            tower=self.tower_fingerprint,
            stage_seconds=stopwatch.seconds,
        )

    def _check_method(self, method: Method, plan: Plan) -> Method:
        """Check a plan's token counts against the tower and the method."""
        most = max(plan.tokens_per_frame)
        if most > self.tokens_per_frame:
            raise PlanMismatch(
                f"the plan gives a frame {most} tokens, but {self.name} has {self.tokens_per_frame} per frame",
                hint=f"plan with max_tokens_per_frame={self.tokens_per_frame}",
            )
        method.check_counts(plan.tokens_per_frame, self.tokens_per_frame)
        return method

    # From a packed video to answers.

    def project(self, packed: PackedVideo) -> Float[Tensor, "visual width"]:
        """Turn packed tokens, (T, D), into embeddings of the language model, (V, width), layout tokens included.

        Gradients are recorded as usual.

        Raises:
            TowerMismatch: another tower made the tokens.
            PlanMismatch: the number of tokens differs from the plan's.
        """
        if packed.tower != self.tower_fingerprint:
            raise TowerMismatch(
                f"the video was packed by the tower {packed.tower}, but {self.name} has {self.tower_fingerprint}",
                hint="pack it again with this model",
            )
        check_token_count(packed.num_tokens, packed.plan)
        return self.family.project(packed.tokens.to(self.device, self.dtype), packed.frame_of.to(self.device))

    def embed(self, packed: PackedVideo, question: str) -> Float[Tensor, "1 length width"]:
        """Build the language model's input: the prompt's embeddings, with the visual tokens in their place.

        Gradients are recorded as usual.

        Raises:
            BadQuestion: the question is empty or not valid text, or contains a special token.
            TowerMismatch, PlanMismatch: as :meth:`project`.
        """
        return self.language.embed(question, self.project(packed))

    def check_question(self, question: str, video: Plan | PackedVideo | None, max_new_tokens: int = 64) -> None:
        """Check that a question can be asked about a video, before any work is done for it.

        Args:
            question: the text.
            video: the video's plan, or the packed video; None for a question without video.
            max_new_tokens: limit on the tokens of the answer.

        Raises:
            BadQuestion: the question is empty or not valid text, or contains a special token.
            ContextTooLong: visual tokens, prompt and answer exceed the language model's context.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        visual_tokens = 0 if video is None else self.family.count_visual_tokens(video.tokens_per_frame)
        self.language.check_question(question, visual_tokens, max_new_tokens)

    def ask(self, packed: PackedVideo, question: str, max_new_tokens: int = 64) -> Answer:
        """Answer a question about a packed video, greedily.

        Raises:
            BadQuestion: the question is empty or not valid text, or contains a special token.
            ContextTooLong: prompt and answer exceed the language model's context.
            TowerMismatch: another tower made the packed tokens.
            OutOfMemory: the device cannot hold the prompt and the answer.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        self.check_question(question, packed, max_new_tokens)
        stopwatch = Stopwatch(self.device)
        with memory_errors(f"answering over {packed.num_tokens} packed tokens"):
            with stopwatch.stage("project"), torch.no_grad():
                visual = self.project(packed)
                inputs_embeds = self.language.embed(question, visual)
            (generated,) = self.language.generate([inputs_embeds], max_new_tokens, stopwatch)
        return self.language.answer(
            question,
            generated,
            visual_tokens=len(visual),
            stage_seconds={**packed.stage_seconds, **stopwatch.seconds},
            warnings=packed.warnings,
        )

    def session(self, packed: PackedVideo | None) -> Session:
        """Run a packed video through the language model once, for any number of questions; None asks without video.

        Raises:
            TowerMismatch: another tower made the packed tokens.
            OutOfMemory: the device cannot hold them.
        """
        if packed is None:
            return Session(self.language, torch.zeros(0, self.language.width, device=self.device, dtype=self.dtype))
        stopwatch = Stopwatch(self.device)
        with (
            memory_errors(f"projecting {packed.num_tokens} packed tokens"),
            stopwatch.stage("project"),
            torch.no_grad(),
        ):
            visual = self.project(packed)
        return Session(
            self.language,
            visual,
            stage_seconds={**packed.stage_seconds, **stopwatch.seconds},
            warnings=packed.warnings,
        )

    def ask_many(
        self,
        packed: PackedVideo,
        questions: Sequence[str],
        max_new_tokens: int = 64,
        batch_questions: int = BATCH_QUESTIONS,
    ) -> list[Answer]:
        """Answer questions about a packed video in batches, each as :meth:`ask` would, see :meth:`Session.ask_many`.

        Raises:
            As :meth:`session` and :meth:`ask`.
        """
        return self.session(packed).ask_many(questions, max_new_tokens, batch_questions)

    def ask_uncompressed(
        self,
        video: Video,
        question: str,
        num_frames: int = 8,
        max_new_tokens: int = 64,
        *,
        policy: Policy | None = None,
        on_progress: Progress | None = None,
    ) -> Answer:
        """Answer with all tokens of all frames: the uncompressed model, through the same code.

        Args:
            video: a file, or its :class:`~vidzip.VideoInfo`.
            question: about it.
            num_frames: number of frames.
            max_new_tokens: limit on the tokens of the answer.
            policy: how frames are chosen; :attr:`sampling_policy` by default.
            on_progress: called as frames are encoded.

        Raises:
            As :func:`vidzip.plan`, :meth:`pack` and :meth:`ask`.
        """
        num_frames = check_count(num_frames, "num_frames")
        budget = Budget(total_tokens=num_frames * self.tokens_per_frame, num_frames=num_frames)
        whole = self.plan(video, budget, policy=policy or self.sampling_policy)
        self.check_question(question, whole, max_new_tokens)
        return self.ask(self.pack(video, whole, on_progress=on_progress), question, max_new_tokens)


def _check_identity(video: Video, plan: Plan) -> None:
    """Check that a plan was made for this video."""
    path = video.path if isinstance(video, VideoInfo) else os.fspath(video)
    identity = identify(path)
    if plan.video_identity is None:
        raise PlanMismatch(
            f"the plan does not name its video; {path!r} is {identity}",
            hint="make it with plan(path) or plan(probe(path))",
        )
    if identity != plan.video_identity:
        raise PlanMismatch(
            f"the plan was made for the video {plan.video_identity}, but {path!r} is {identity}",
            hint="make a plan for this video",
        )
