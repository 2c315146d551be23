"""Many questions about one video: the prompt prefix with the visual tokens runs through the language model once."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Cache

from vidzip.errors import BadArgument, BadModelFolder
from vidzip.models.generating import Generated
from vidzip.models.language import Answer, LanguageModel
from vidzip.models.memory import memory_errors
from vidzip.models.timing import Stopwatch
from vidzip.video.sampling import check_count

BATCH_QUESTIONS = 16
"""Default number of questions in a batch; each takes a copy of the video's cache."""


class Session:
    """One video in the language model's cache, ready for questions; :meth:`vidzip.VideoModel.session` makes one.

    Every question is answered as if it were the only one. Several threads may ask: they take turns.

    Attributes:
        language: the language model.
        visual_tokens: visual embeddings in the cache, layout tokens included, V.
        stage_seconds: seconds spent once for all questions, the stage ``prefix`` included.
    """

    def __init__(
        self,
        language: LanguageModel,
        visual: Float[Tensor, "visual width"],
        *,
        stage_seconds: Mapping[str, float] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Run projected visual tokens, (V, width), through the language model; (0, width) for questions without video.

        Raises:
            OutOfMemory: the device cannot hold them.
        """
        self.language = language
        self.visual_tokens = len(visual)
        self._warnings = tuple(warnings)
        self._lock = threading.Lock()
        self._device = visual.device
        stopwatch = Stopwatch(visual.device)
        with memory_errors(f"prefilling {len(visual)} visual tokens"), stopwatch.stage("prefix"):
            self._prefix = _PromptPrefix(language, visual)
            self._cache = self._prefix.prefill()
        self.stage_seconds = {**(stage_seconds or {}), **stopwatch.seconds}

    def ask(self, question: str, max_new_tokens: int = 64) -> Answer:
        """Answer a question, greedily.

        Raises:
            BadQuestion: the question is empty or not valid text, or contains a special token.
            ContextTooLong: visual tokens, prompt and answer exceed the language model's context.
            OutOfMemory: the device cannot hold the prompt and the answer.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        text = self._prefix.tokenize(question, max_new_tokens)
        with self._lock:
            try:
                return self._answer([question], [text], self._cache, max_new_tokens)[0]
            finally:
                _crop(self._cache, self._prefix.length)

    def ask_many(
        self, questions: Sequence[str], max_new_tokens: int = 64, batch_questions: int = BATCH_QUESTIONS
    ) -> list[Answer]:
        """Answer questions in batches, each as :meth:`ask` would.

        Args:
            questions: any number of them.
            max_new_tokens: limit on the tokens of an answer.
            batch_questions: questions in a batch.

        Returns:
            The answers, in the order of the questions.

        Raises:
            BadQuestion, ContextTooLong, BadArgument: as :meth:`ask`, before any question is answered.
            OutOfMemory: the device cannot hold a batch.
        """
        if isinstance(questions, str):
            raise BadArgument(f"the questions are one text, {questions!r}", hint="give a list of texts")
        batch_questions = check_count(batch_questions, "batch_questions")
        texts = [self._prefix.tokenize(question, max_new_tokens) for question in questions]
        answers: list[Answer] = []
        for first in range(0, len(texts), batch_questions):
            batch, after = questions[first : first + batch_questions], texts[first : first + batch_questions]
            with self._lock, memory_errors(f"answering {len(batch)} questions in a batch"):
                cache = copy.deepcopy(self._cache)
                cache.batch_repeat_interleave(len(batch))
            answers += self._answer(batch, after, cache, max_new_tokens)
        return answers

    def chat(self) -> Chat:
        """Start a conversation about the video, which remembers questions and answers."""
        with self._lock, memory_errors("a conversation"):
            return Chat(self, self._prefix, copy.deepcopy(self._cache))

    def stopwatch(self) -> Stopwatch:
        """Make a stopwatch for the session's device."""
        return Stopwatch(self._device)

    def answer(self, question: str, generated: Generated, stopwatch: Stopwatch, *, batch: int = 1) -> Answer:
        """Decode what was generated in a batch of so many questions."""
        return self.language.answer(
            question,
            generated,
            visual_tokens=self.visual_tokens,
            stage_seconds={
                **self.stage_seconds,
                **{stage: seconds / batch for stage, seconds in stopwatch.seconds.items()},
            },
            warnings=self._warnings,
        )

    def _answer(
        self, questions: Sequence[str], texts: Sequence[tuple[int, ...]], cache: Cache, max_new_tokens: int
    ) -> list[Answer]:
        stopwatch = self.stopwatch()
        generated = self._prefix.generate(texts, cache, max_new_tokens, stopwatch)
        return [
            self.answer(question, one, stopwatch, batch=len(questions))
            for question, one in zip(questions, generated, strict=True)
        ]


class Chat:
    """A conversation about a video: each question follows all earlier ones; :meth:`Session.chat` starts one.

    Answers stay in the cache as they were generated; none is tokenized again. A question that fails, or is
    interrupted, leaves the conversation as it was.

    Attributes:
        turns: questions and answers so far.
    """

    def __init__(self, session: Session, prefix: _PromptPrefix, cache: Cache) -> None:
        self.turns: tuple[tuple[str, Answer], ...] = ()
        self._session = session
        self._prefix = prefix
        self._cache = cache
        self._text: tuple[int, ...] = ()  # everything after the visual tokens
        self._lock = threading.Lock()

    def ask(self, question: str, max_new_tokens: int = 64) -> Answer:
        """Answer the next question, greedily.

        Raises:
            BadQuestion: the question is empty or not valid text, or contains a special token.
            ContextTooLong: the conversation exceeds the language model's context.
            OutOfMemory: the device cannot hold it.
            BadArgument: ``max_new_tokens`` is below 1.
        """
        with self._lock:
            new = self._prefix.tokenize(question, max_new_tokens, history=self._text)
            text = (*self._text, *new)
            stopwatch = self._session.stopwatch()
            kept = self._cache.get_seq_length()
            try:
                (generated,) = self._prefix.generate([text], self._cache, max_new_tokens, stopwatch)
                answer = self._session.answer(question, generated, stopwatch)
                self._text, self.turns = (*text, *generated.ids), (*self.turns, (question, answer))
                kept = self._prefix.length + len(self._text)
            finally:
                _crop(self._cache, kept)
        return answer


class _PromptPrefix:
    """What all prompts about a video share: the text before the visual tokens, and the visual tokens."""

    def __init__(self, language: LanguageModel, visual: Float[Tensor, "visual width"]) -> None:
        self._language = language
        self._visual_tokens = len(visual)
        self._ids = language.family.prompt("?").before
        with torch.no_grad():
            before = language.embed_text(self._ids, visual.device)
        self._embeds = torch.cat([before, visual[None].to(before)], dim=1)

    @property
    def length(self) -> int:
        """Tokens, text and visual."""
        return self._embeds.shape[1]

    def prefill(self) -> Cache:
        """Run it through the language model."""
        return self._language.prefill(self._embeds)

    def tokenize(self, question: str, max_new_tokens: int, history: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Check a question, and tokenize the text that it adds after the visual tokens and the history."""
        family = self._language.family
        if history:
            ids = family.chat_turn(question)
        else:
            prompt = family.prompt(question)
            ids = prompt.after
            if prompt.before != self._ids:
                raise BadModelFolder(
                    f"the tokenizer of {self._language.name} starts the prompts of different questions differently",
                    hint="use the tokenizer files that came with the checkpoint",
                )
        text_tokens = len(self._ids) + len(history) + len(ids)
        self._language.check_length(self._visual_tokens, text_tokens, max_new_tokens)
        return ids

    def generate(
        self, texts: Sequence[tuple[int, ...]], cache: Cache, max_new_tokens: int, stopwatch: Stopwatch
    ) -> list[Generated]:
        """Generate after this prefix and each of some texts; the cache may hold a part of them already."""
        language, device = self._language, self._embeds.device
        with memory_errors(f"answering over {self._visual_tokens} visual tokens"), torch.no_grad():
            prompts = [language.embed_text(ids, device) for ids in texts]
            return language.generate(prompts, max_new_tokens, stopwatch, prefix=self._embeds, cache=cache)


def _crop(cache: Cache, length: int) -> None:
    """Cut a cache to a length, layer by layer: an interruption may have left some layers longer than others."""
    layers: list[Any] = cache.layers
    for layer in layers:
        layer.crop(min(0, length - layer.get_seq_length()))
