"""Video-LLaVA: decode, encode, compress, pack, project, ask. Whoever follows one video reads downwards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, VideoLlavaForConditionalGeneration

from vidzip.compress import Method, describe, make_method, zip_frames
from vidzip.encoders import CompiledTower, FramePreprocessor
from vidzip.errors import BadModelFolder, ContextTooLong, PlanMismatch, TowerMismatch
from vidzip.features import FrameFeatures
from vidzip.footage import Footage, over_what_there_is, settle
from vidzip.models.encoding import FrameEncoder, Progress
from vidzip.models.generating import generate_greedily
from vidzip.models.memory import BATCH_FRAMES, TOWER_MEMORY_BYTES, activation_bytes, memory_errors
from vidzip.models.prompting import Prompting, embed_prompt
from vidzip.models.session import BATCH_QUESTIONS, Answer, Session, as_answer
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
class EncodedFootage:
    """Frames as the tower sees them, to be packed in any number of ways.

    Attributes:
        features: of F frames.
        timestamps_seconds: when each frame appears on screen, (F,).
        stage_seconds: time spent in each stage so far.
    """

    features: FrameFeatures
    timestamps_seconds: tuple[float, ...]
    stage_seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoLlava:
    """A Video-LLaVA of transformers' layout, ready to be asked; :func:`vidzip.load` makes one.

    Attributes:
        name: as it was loaded.
        model: the transformers model, in evaluation mode.
        tokenizer: its tokenizer.
        preprocessor: its pictures' preparation.
        prompting: how it is asked.
        stored: the folder that its weights come from; None where they were made in memory.
        policy: how its own code chooses frames, see :func:`vidzip.sample`.
        batch_frames: frames that run through the tower at once, at most; whole clips of them, and one clip at least.
        tower_memory_bytes: what the tower may take to run, weights and results left out: fewer frames run at once
            where they would take more.
        compile_tower: whether torch compiles the tower when it is first needed, which takes a minute or so, and pays
            where much is encoded. Every chunk is then filled up to :attr:`frames_at_once`, so that one graph serves.
    """

    name: str
    model: VideoLlavaForConditionalGeneration = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    preprocessor: FramePreprocessor = field(repr=False)
    prompting: Prompting = field(repr=False)
    stored: Path | None = None
    policy: Policy = "middle"
    batch_frames: int = BATCH_FRAMES
    tower_memory_bytes: int = TOWER_MEMORY_BYTES
    compile_tower: bool = False

    @property
    def commit(self) -> str | None:
        """The commit on the hub that it was loaded from; None where it came from elsewhere."""
        folder = self.stored
        return folder.name if folder is not None and folder.parent.name == "snapshots" else None

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
        for module in self.tower.modules():  # accelerate hangs its hooks on those that it places
            place = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
            if place is not None:
                return torch.device(place)
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the tower, and of the tokens it makes."""
        return next(self.tower.parameters()).dtype

    @property
    def tokens_per_frame(self) -> int:
        """S: tokens of one uncompressed frame, CLS included."""
        vision = self.config.vision_config
        return int(vision.image_size // vision.patch_size) ** 2 + 1

    @property
    def frames_per_clip(self) -> int:
        """Frames that the tower encodes together; 1 where each is encoded alone."""
        return int(getattr(self.tower, "frames_per_clip", 1))

    @property
    def frames_at_once(self) -> int:
        """Frames that run through the tower at once: whole clips, within the memory they may take."""
        needs = activation_bytes(self.config.vision_config, self.dtype)
        fitting = min(self.batch_frames, self.tower_memory_bytes // needs)
        return max(1, fitting // self.frames_per_clip) * self.frames_per_clip

    @property
    def encoder(self) -> FrameEncoder:
        """The tower and what it takes."""
        return FrameEncoder(
            tower=self.tower,
            preprocessor=self.preprocessor,
            layer=self.feature_layer,
            frames_per_clip=self.frames_per_clip,
            frames_at_once=self.frames_at_once,
            device=self.device,
            dtype=self.dtype,
            compiled=self._compiled if self.compile_tower else None,
        )

    @cached_property
    def _compiled(self) -> CompiledTower:
        return CompiledTower(self.tower)

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
        """A hash of the tower's weights: packed tokens mean something to models with this tower only.

        Of a model from a folder, they are hashed as they are stored, so that it is the same in every precision, on
        every device and in either layout, whatever became of the projector.
        """
        return fingerprint(self.tower) if self.stored is None else tower_fingerprint(stored_weights(self.stored))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all weights, as they are in memory: answers belong to these alone."""
        return fingerprint(self.model)

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
        """Decode the plan's frames, encode them, compress each to its tokens, and join them.

        A video that turns out to end before the last moment is planned anew over what there is of it, with a warning.

        Args:
            video: the file the plan was made for, or what :func:`vidzip.probe` said of it.
            plan: which moments, and how many tokens each; a method across frames shares out their sum by itself.
            method: a name in :data:`vidzip.compress.METHODS`, or a method with its options.
            decoding: how the file is decoded; ``DecodeOptions()`` when left out. Where it is strict, damage is an error.
            on_progress: called as frames are encoded.
            options: the method's own, where it is given by its name.

        Raises:
            PlanMismatch: the plan was made for another video, or gives a frame more tokens than the tower has.
            VideoError: the file cannot be decoded at a moment of the plan.
            OutOfMemory: the device cannot hold the frames' features.
            BadArgument: an unknown method or option, or a plan whose counts the method cannot spend.
        """
        chosen = make_method(method, options)
        path = video.path if isinstance(video, VideoInfo) else os.fspath(video)
        self._check_plan(path, plan)
        chosen.check_counts(plan.tokens_per_frame, self.tokens_per_frame)
        plan = replace(plan, frames_per_clip=self.frames_per_clip)
        decoding = decoding or DecodeOptions()
        stopwatch = Stopwatch(self.device)
        with memory_errors(f"packing {plan.num_frames} frames"):
            plan, encoded = over_what_there_is(
                plan,
                video,
                decoding,
                self.tokens_per_frame,
                lambda real: self.encoder.encode_at(path, real, decoding, stopwatch, on_progress),
            )
            plan = settle(plan, encoded.appears_seconds, encoded.warnings, self.tokens_per_frame)
            appears = tuple(dict.fromkeys(encoded.appears_seconds))
            return self._compress(encoded.features, plan, appears, chosen, stopwatch)

    def pack_footage(self, footage: Footage, method: str | Method = "visionzip", **options: Any) -> PackedVideo:
        """Pack frames that :func:`vidzip.footage.shoot` decoded to the shape of this model's :attr:`preprocessor`.

        Args:
            footage: the frames, and the plan that they were decoded by.
            method: a name in :data:`vidzip.compress.METHODS`, or a method with its options.
            options: the method's own, where it is given by its name.

        Raises:
            PlanMismatch: the plan gives a frame more tokens than the tower has.
            OutOfMemory: the device cannot hold the frames' features.
            BadArgument: an unknown method or option, or a plan whose counts the method cannot spend.
        """
        chosen = make_method(method, options)
        self._check_counts(footage.plan)
        chosen.check_counts(footage.plan.tokens_per_frame, self.tokens_per_frame)
        encoded = self.encode_footage(footage)
        return self.pack_features(encoded, footage.plan, chosen)

    def encode_footage(self, footage: Footage) -> EncodedFootage:
        """Run footage through the tower, for any number of :meth:`pack_features`.

        Raises:
            OutOfMemory: the device cannot hold the frames' features.
        """
        stopwatch = Stopwatch(self.device)
        with memory_errors(f"encoding {footage.plan.num_frames} frames"):
            features = self.encoder.encode_shaped(footage.pixels, stopwatch)
        return EncodedFootage(
            features=features, timestamps_seconds=footage.timestamps_seconds, stage_seconds=stopwatch.seconds
        )

    def pack_features(
        self, encoded: EncodedFootage, plan: Plan, method: str | Method = "visionzip", **options: Any
    ) -> PackedVideo:
        """Pack footage that :meth:`encode_footage` encoded: by its own plan, or by another of the same moments.

        Args:
            encoded: the frames' features.
            plan: how many tokens each of these frames gets.
            method: a name in :data:`vidzip.compress.METHODS`, or a method with its options.
            options: the method's own, where it is given by its name.

        Raises:
            PlanMismatch: the plan is of another number of frames, or gives a frame more tokens than the tower has.
            OutOfMemory: the device cannot hold what the method needs.
            BadArgument: an unknown method or option, or a plan whose counts the method cannot spend.
        """
        chosen = make_method(method, options)
        self._check_counts(plan)
        chosen.check_counts(plan.tokens_per_frame, self.tokens_per_frame)
        if plan.num_frames != encoded.features.num_frames:
            raise PlanMismatch(
                f"the plan is of {plan.num_frames} frames, and {encoded.features.num_frames} were encoded",
                hint="give the footage's plan, or one of the same moments",
            )
        plan = replace(plan, frames_per_clip=self.frames_per_clip)
        stopwatch = Stopwatch(self.device, encoded.stage_seconds)
        with memory_errors(f"packing {plan.num_frames} frames"):
            return self._compress(encoded.features, plan, encoded.timestamps_seconds, chosen, stopwatch)

    def _compress(
        self,
        features: FrameFeatures,
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

    def encode(self, frames: Frames) -> FrameFeatures:
        """Run decoded frames through the tower, a batch at a time."""
        return self.encoder.encode(frames)

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
            projected: Tensor = self.projector(packed.tokens.to(self.device, self.dtype))
        return projected

    def check_question(self, question: str, visual_tokens: int, max_new_tokens: int = 64) -> None:
        """Make sure that a question can be put beside so many visual tokens, before any work is done for it.

        Raises:
            BadQuestion: an empty question, or one with the model's own markers.
            ContextTooLong: visual tokens, prompt and answer pass the language model's context.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        self.check_length(visual_tokens, self.prompting.opening(question).num_tokens, max_new_tokens)

    def check_length(self, visual_tokens: int, text_tokens: int, max_new_tokens: int) -> None:
        """Hold what the language model is to see, and to say, against its context.

        Raises:
            ContextTooLong: visual tokens, prompt and answer pass it.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        max_new_tokens = check_count(max_new_tokens, "max_new_tokens")
        context = self.config.text_config.max_position_embeddings
        if visual_tokens + text_tokens + max_new_tokens > context:
            raise ContextTooLong(
                f"{visual_tokens} visual, {text_tokens} prompt and {max_new_tokens} new tokens pass the model's "
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
        prompt = self.prompting.opening(question)
        with torch.no_grad():
            return embed_prompt(prompt, self.project(packed), self.model.get_input_embeddings())

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
        with memory_errors(f"answering over {packed.num_tokens} visual tokens"):
            with stopwatch.stage("project"):
                inputs_embeds = self.embed(packed, question)
            (generated,) = generate_greedily(
                self.model,
                [inputs_embeds],
                max_new_tokens=max_new_tokens,
                eos_token_ids=self.eos_token_ids,
                pad_token_id=self.pad_token_id,
                stopwatch=stopwatch,
            )
        return as_answer(
            self,
            question,
            generated,
            visual_tokens=packed.num_tokens,
            stage_seconds={**packed.stage_seconds, **stopwatch.seconds},
            warnings=packed.warnings,
        )

    def session(self, packed: PackedVideo) -> Session:
        """Read a packed video once, for any number of questions.

        Raises:
            TowerMismatch: another tower made the packed tokens.
            OutOfMemory: the device cannot hold them.
        """
        stopwatch = Stopwatch(self.device)
        with memory_errors(f"projecting {packed.num_tokens} visual tokens"), stopwatch.stage("project"):
            visual = self.project(packed)
        return Session(
            self,
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
        """Answer questions about a packed video side by side, each as :meth:`ask` would.

        Args:
            packed: the video, which is read once.
            questions: any number of them.
            max_new_tokens: tokens of an answer, at most.
            batch_questions: how many at once.

        Returns:
            The answers, in the order of the questions.

        Raises:
            As :meth:`session` and :meth:`ask`.
        """
        return self.session(packed).ask_many(questions, max_new_tokens, batch_questions)

    def plan(self, video: Video, budget: Budget | None = None, **options: Any) -> Plan:
        """Plan frames for this model: what its frames hold, and how many it encodes together, are filled in.

        Args:
            video: a file, or what :func:`vidzip.probe` said of it.
            budget: what may be spent; ``Budget()`` when left out.
            options: policy, start, end, snap, costs and method, as :func:`vidzip.plan` takes them.

        Raises:
            As :func:`vidzip.plan`.
        """
        return plan(video, budget, self.tokens_per_frame, frames_per_clip=self.frames_per_clip, **options)

    def ask_full(
        self,
        video: Video,
        question: str,
        num_frames: int = 8,
        max_new_tokens: int = 64,
        *,
        policy: Policy | None = None,
        on_progress: Progress | None = None,
    ) -> Answer:
        """Answer with every token of every frame, the uncompressed model, through the same code.

        Args:
            video: a file, or what :func:`vidzip.probe` said of it.
            question: about it.
            num_frames: how many frames.
            max_new_tokens: tokens of the answer, at most.
            policy: how frames are chosen, see :func:`vidzip.sample`; as the model's own code does when left out.
            on_progress: called as frames are encoded.

        Raises:
            As :func:`vidzip.plan`, :meth:`pack` and :meth:`ask`.
        """
        num_frames = check_count(num_frames, "num_frames")
        budget = Budget(total_tokens=num_frames * self.tokens_per_frame, num_frames=num_frames)
        whole = self.plan(video, budget, policy=policy or self.policy)
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
        self._check_counts(plan)

    def _check_counts(self, plan: Plan) -> None:
        most = max(plan.tokens_per_frame)
        if most > self.tokens_per_frame:
            raise PlanMismatch(
                f"the plan gives a frame {most} tokens, but {self.name} has {self.tokens_per_frame} a frame",
                hint=f"plan with max_tokens_per_frame={self.tokens_per_frame}",
            )

    def warnings(self, question: str) -> Iterator[str]:
        """Say what makes an answer to a question doubtful."""
        unknown = self.unknown_words(question)
        if unknown:
            yield f"{self.name} does not know {', '.join(map(repr, unknown))}"

    @property
    def pad_token_id(self) -> int:
        """What fills a row of a batch that has ended."""
        pad = self.tokenizer.pad_token_id
        return self.eos_token_ids[0] if pad is None else int(pad)
