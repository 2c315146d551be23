"""Many questions about one video: what stands before a question runs through the language model once."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Cache

from vidzip.errors import BadArgument, BadModelFolder
from vidzip.models.generating import FinishReason, Generated, generate_greedily
from vidzip.models.memory import memory_errors
from vidzip.models.prompting import embed_text
from vidzip.models.timing import Stopwatch
from vidzip.video.sampling import check_count

if TYPE_CHECKING:
    from vidzip.models.video_llava import VideoLlava

BATCH_QUESTIONS = 16
"""Questions answered side by side where no other number is asked for; each takes a copy of the video's cache."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said.

    Attributes:
        text: the answer.
        finish_reason: ``"stop"`` where the model ended it, ``"length"`` where ``max_new_tokens`` did.
        visual_tokens: visual tokens the language model saw, T.
        new_tokens: tokens generated, the end marker not counted.
        stage_seconds: time spent in each stage on the way here; decode, preprocess, encode and compress were spent
            once for all questions on the same packed video, and so were project and prefix in a session. Questions
            answered side by side share the seconds of prefill and generate evenly.
        warnings: what differs from what was asked for, in words.
    """

    text: str
    finish_reason: FinishReason
    visual_tokens: int
    new_tokens: int
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Session:
    """One video in the language model's cache, ready for questions; :meth:`vidzip.VideoLlava.session` makes one.

    Every question is answered as if it were the only one. Several threads may ask: they take turns.

    Attributes:
        model: who answers.
        visual_tokens: visual tokens in the cache, T.
        stage_seconds: time spent once for all questions: to here, and in the stage ``prefix``.
    """

    def __init__(
        self,
        model: VideoLlava,
        visual: Float[Tensor, "kept width"],
        *,
        stage_seconds: Mapping[str, float] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Read projected visual tokens, (T, width); none, (0, width), for questions without a video.

        Raises:
            OutOfMemory: the device cannot hold them.
        """
        self.model = model
        self.visual_tokens = len(visual)
        self._warnings = tuple(warnings)
        self._turns = threading.Lock()
        stopwatch = Stopwatch(model.device)
        with memory_errors(f"reading {len(visual)} visual tokens"), stopwatch.stage("prefix"):
            self._beginning = _Beginning(model, visual)
            self._cache = self._beginning.read()
        self.stage_seconds = {**(stage_seconds or {}), **stopwatch.seconds}

    def ask(self, question: str, max_new_tokens: int = 64) -> Answer:
        """Answer a question, greedily.

        Raises:
            BadQuestion: an empty question, or one with the model's own markers.
            ContextTooLong: visual tokens, prompt and answer pass the language model's context.
            OutOfMemory: the device cannot hold the prompt and the answer.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        after = self._beginning.tokenise(question, max_new_tokens)
        with self._turns:
            try:
                return self._answer([question], [after], self._cache, max_new_tokens)[0]
            finally:
                _shorten(self._cache, self._beginning.length)

    def ask_many(
        self, questions: Sequence[str], max_new_tokens: int = 64, batch_questions: int = BATCH_QUESTIONS
    ) -> list[Answer]:
        """Answer questions side by side, each as :meth:`ask` would.

        Args:
            questions: any number of them.
            max_new_tokens: tokens of an answer, at most.
            batch_questions: how many at once.

        Returns:
            The answers, in the order of the questions.

        Raises:
            BadQuestion, ContextTooLong, OutOfMemory, BadArgument: as :meth:`ask`; all but the third before any
                question is answered.
        """
        if isinstance(questions, str):
            raise BadArgument(f"the questions are one text, {questions!r}", hint="give a list of texts")
        batch_questions = check_count(batch_questions, "batch_questions")
        prompts = [self._beginning.tokenise(question, max_new_tokens) for question in questions]
        answers: list[Answer] = []
        for first in range(0, len(prompts), batch_questions):
            asked, after = questions[first : first + batch_questions], prompts[first : first + batch_questions]
            with self._turns, memory_errors(f"answering {len(asked)} questions side by side"):
                cache = copy.deepcopy(self._cache)
            cache.batch_repeat_interleave(len(asked))
            answers += self._answer(asked, after, cache, max_new_tokens)
        return answers

    def chat(self) -> Chat:
        """Begin a conversation about the video, which remembers what was asked and answered."""
        with self._turns, memory_errors("a conversation"):
            return Chat(self, self._beginning, copy.deepcopy(self._cache))

    def as_answer(self, question: str, generated: Generated, stopwatch: Stopwatch, *, share: int = 1) -> Answer:
        """Put into words what was generated, together with ``share - 1`` other answers."""
        return as_answer(
            self.model,
            question,
            generated,
            visual_tokens=self.visual_tokens,
            stage_seconds={
                **self.stage_seconds,
                **{stage: seconds / share for stage, seconds in stopwatch.seconds.items()},
            },
            warnings=self._warnings,
        )

    def _answer(
        self, questions: Sequence[str], after: Sequence[tuple[int, ...]], cache: Cache, max_new_tokens: int
    ) -> list[Answer]:
        stopwatch = Stopwatch(self.model.device)
        generated = self._beginning.go_on(after, cache, max_new_tokens, stopwatch)
        return [
            self.as_answer(question, one, stopwatch, share=len(questions))
            for question, one in zip(questions, generated, strict=True)
        ]


class Chat:
    """A conversation about a video: each question is put behind all that was said before; :meth:`Session.chat`.

    What was said stays in the cache as it was generated; no answer is tokenised anew. A question that fails, or is
    interrupted, leaves the conversation as it was.

    Attributes:
        turns: questions and answers so far.
    """

    def __init__(self, session: Session, beginning: _Beginning, cache: Cache) -> None:
        self.turns: tuple[tuple[str, Answer], ...] = ()
        self._session = session
        self._beginning = beginning
        self._cache = cache
        self._text: tuple[int, ...] = ()  # all that stands behind the visual tokens
        self._asking = threading.Lock()

    def ask(self, question: str, max_new_tokens: int = 64) -> Answer:
        """Answer the next question, greedily.

        Raises:
            BadQuestion: an empty question, or one with the model's own markers.
            ContextTooLong: the conversation passes the language model's context.
            OutOfMemory: the device cannot hold it.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        beginning = self._beginning
        with self._asking:
            asked = beginning.tokenise(question, max_new_tokens, said=self._text)
            text = (*self._text, *asked)
            stopwatch = Stopwatch(self._session.model.device)
            kept = self._cache.get_seq_length()
            try:
                (generated,) = beginning.go_on([text], self._cache, max_new_tokens, stopwatch)
                answer = self._session.as_answer(question, generated, stopwatch)
                self._text, self.turns = (*text, *generated.ids), (*self.turns, (question, answer))
                kept = beginning.length + len(self._text)
            finally:
                _shorten(self._cache, kept)
        return answer


class _Beginning:
    """What all prompts about a video have in common: the text before the visual tokens, and these."""

    def __init__(self, model: VideoLlava, visual: Float[Tensor, "kept width"]) -> None:
        self._model = model
        self._visual_tokens = len(visual)
        self._ids = model.prompting.opening("?").before
        self._embedding = model.model.get_input_embeddings()
        with torch.no_grad():
            head = embed_text(self._ids, self._embedding, visual.device)
        self._embeds = torch.cat([head, visual[None].to(head)], dim=1)

    @property
    def length(self) -> int:
        """Tokens, of text and visual ones."""
        return self._embeds.shape[1]

    def read(self) -> Cache:
        """Run it through the language model."""
        with torch.no_grad():
            output = self._model.model(inputs_embeds=self._embeds, use_cache=True, logits_to_keep=1)
        cache: Cache = output.past_key_values
        return cache

    def tokenise(self, question: str, max_new_tokens: int, said: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Check a question, and tokenise what it puts behind the visual tokens, and behind what was said."""
        prompting = self._model.prompting
        if said:
            ids = prompting.turn(question)
        else:
            prompt = prompting.opening(question)
            ids = prompt.after
            if prompt.before != self._ids:
                raise BadModelFolder(
                    f"the tokenizer of {self._model.name} begins the prompts of different questions differently",
                    hint="use the tokenizer files that came with the checkpoint",
                )
        text_tokens = len(self._ids) + len(said) + len(ids)
        self._model.check_length(self._visual_tokens, text_tokens, max_new_tokens)
        return ids

    def go_on(
        self, texts: Sequence[tuple[int, ...]], cache: Cache, max_new_tokens: int, stopwatch: Stopwatch
    ) -> list[Generated]:
        """Generate behind this beginning and each of some texts, of which a cache may hold a part already."""
        with memory_errors(f"answering over {self._visual_tokens} visual tokens"), torch.no_grad():
            return generate_greedily(
                self._model.model,
                [embed_text(ids, self._embedding, self._embeds.device) for ids in texts],
                before=self._embeds,
                cache=cache,
                max_new_tokens=max_new_tokens,
                eos_token_ids=self._model.eos_token_ids,
                pad_token_id=self._model.pad_token_id,
                stopwatch=stopwatch,
            )


def as_answer(
    model: VideoLlava,
    question: str,
    generated: Generated,
    *,
    visual_tokens: int,
    stage_seconds: Mapping[str, float],
    warnings: Sequence[str],
) -> Answer:
    """Put into words what a model generated."""
    return Answer(
        text=str(model.tokenizer.decode(generated.ids, skip_special_tokens=True)).strip(),
        finish_reason=generated.finish_reason,
        visual_tokens=visual_tokens,
        new_tokens=len(generated.ids),
        stage_seconds=dict(stage_seconds),
        warnings=(*warnings, *model.warnings(question)),
    )


def _shorten(cache: Cache, length: int) -> None:
    """Cut a cache to a length; each layer by itself, since an interruption may have left some longer than others."""
    layers: list[Any] = cache.layers
    for layer in layers:
        layer.crop(min(0, length - layer.get_seq_length()))
