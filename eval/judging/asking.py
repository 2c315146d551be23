"""Asking a judge: many answers at a time, patiently, each one kept as it comes."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from eval.judging.errors import JudgeError, JudgeUnreachable
from eval.judging.judge import HOSTED_URL, Judge
from eval.judging.parsing import Judgement, UnreadableReply, parse_reply
from eval.judging.replies import Reply, ReplyStore
from eval.results import QuestionResult

if TYPE_CHECKING:
    import openai

MOST_REPLIES = 3
"""An answer of which a judge said so often what cannot be read is not asked about again: it is unjudged."""

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0
"""Waits double between tries of one request; a server that names a time is heeded, up to :data:`HEEDED_SECONDS`."""

HEEDED_SECONDS = 300.0

SILENT_IN_A_ROW = 20
"""So many answers in a row without any reply end the run: the judge is down. (Never fewer than are asked at a time.)"""

SHORTEST_SECRET = 8
"""A key of fewer characters is a placeholder, such as ``x``, and no secret to be hidden in what a server says."""

NO_KEY = "no-key-needed"
"""What a server on this machine is sent where there is no key: the client does not do without."""

PROBE = ("What color is the sky on a clear day?", "blue", "it is blue")
"""A harmless answer, asked about to learn whether a judge refuses one answer or all of them; no score has it."""

_Triple = tuple[str, str, str]

_PASSING = {408, 409, 425, 429}
"""Statuses, besides those from 500 on, that another try may mend."""

_OF_THE_REQUEST = {400, 413, 422}
"""Statuses that may mean this one request: too long, say, or caught by a filter."""

_HINTS = {
    401: "check the key in the environment variable that holds it (--judge-key-env names it)",
    402: "the account has to be topped up",
    403: "the key may not use this model",
    404: "check the model's name, and that the URL ends in /v1",
}
_HINT_FOR_ALL = "check the URL, the model's name, and whether it takes a temperature and max_completion_tokens"


class _NoReply(Exception):
    """No reply this time; another try may bring one."""

    def __init__(self, reason: str, *, wait_seconds: float = 0.0, is_connection: bool = False) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds
        self.is_connection = is_connection


class _Refused(Exception):
    """The judge refuses this request, and will again."""


def triples(questions: Sequence[QuestionResult]) -> Iterator[tuple[QuestionResult, _Triple]]:
    """The questions that have a prediction, with the three texts that a judge is shown."""
    for one in questions:
        if one.prediction is not None:
            yield one, (one.question, one.answer, one.prediction)


def missing(questions: Sequence[QuestionResult], fingerprint: str, replies: ReplyStore) -> list[_Triple]:
    """What a judge has still to be asked: each three texts once, in order."""
    every = dict.fromkeys(triple for _, triple in triples(questions))
    return [triple for triple in every if not _is_settled(replies.find(fingerprint, *triple))]


def replay(
    questions: Sequence[QuestionResult], judge_fingerprint: str | None, replies: ReplyStore
) -> dict[str, Judgement]:
    """Judge from kept replies alone.

    Args:
        questions: those without a prediction get no judgement.
        judge_fingerprint: whose replies; None where the file holds those of one judge.
        replies: the first that can be read counts; where there is none, the answer is unjudged.

    Raises:
        RepliesError: no judge is named and there are several, or the one named has not replied.
    """
    return _judgements(questions, replies.choose(judge_fingerprint), replies, {})


async def judge_answers(
    questions: Sequence[QuestionResult],
    judge: Judge,
    replies: ReplyStore,
    *,
    concurrency: int = 8,
    timeout_seconds: float = 60.0,
    max_attempts: int = 8,
    api_key: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, Judgement]:
    """Ask a judge about every answer of which no reply is kept.

    Rate limits (429), trouble of the server (5xx), timeouts and broken connections are met by waiting and trying again;
    replies that cannot be read, by asking :data:`MOST_REPLIES` times. What is left then is unjudged, and says why.
    Whatever ends the run, the replies that came stay kept, and a second call asks for the rest. An empty prediction is
    asked about like any other.

    Args:
        questions: those without a prediction get no judgement; equal question, answer and prediction are asked once.
        judge: whom to ask.
        replies: opened by :func:`eval.judging.open_replies`.
        concurrency: requests at a time.
        timeout_seconds: how long one request may take, from its first byte to its reply's last.
        max_attempts: tries of one request.
        api_key: the secret; it is neither kept nor shown. A server on this machine needs none.
        on_progress: told how many of how many were asked.
        sleep: waits some seconds.

    Returns:
        Judgements by question id.

    Raises:
        JudgeError: the openai package is missing, there is no key, or the judge refuses every request; its status and
            words are in the message.
        JudgeUnreachable: it does not reply at all.
        RepliesError: replies cannot be kept.
    """
    if concurrency < 1 or max_attempts < 1 or not timeout_seconds > 0:
        raise ValueError("concurrency and max_attempts need 1 or more, timeout_seconds more than 0")
    todo = missing(questions, judge.fingerprint, replies)
    reasons: dict[_Triple, str] = {}
    if todo:
        async with _client(judge, api_key, timeout_seconds) as client, _discreet():
            asker = _Asker(
                client=client,
                judge=judge,
                replies=replies,
                api_key=api_key or "",
                timeout_seconds=timeout_seconds,
                max_attempts=max_attempts,
                sleep=sleep,
                most_silent=max(SILENT_IN_A_ROW, concurrency),
            )
            reasons = await _ask_all(asker, todo, concurrency, on_progress or _tell_nobody)
    return _judgements(questions, judge.fingerprint, replies, reasons)


async def _ask_all(
    asker: _Asker, todo: Sequence[_Triple], concurrency: int, on_progress: Callable[[int, int], None]
) -> dict[_Triple, str]:
    """Ask about all of them, so many at a time; returns why there is nothing to be read, where there is not."""
    reasons: dict[_Triple, str] = {}
    left = iter(todo)
    num_done = 0

    async def work() -> None:
        nonlocal num_done
        for triple in left:
            reason = await asker.settle(triple)
            if reason:
                reasons[triple] = reason
            num_done += 1
            on_progress(num_done, len(todo))

    on_progress(0, len(todo))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(todo))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return reasons


class _Asker:
    """Asks one judge until it has replied, or will not."""

    def __init__(
        self,
        *,
        client: openai.AsyncOpenAI,
        judge: Judge,
        replies: ReplyStore,
        api_key: str,
        timeout_seconds: float,
        max_attempts: int,
        sleep: Callable[[float], Awaitable[None]],
        most_silent: int,
    ) -> None:
        self.judge = judge
        self.replies = replies
        self._client = client
        self._secrets = _spellings(api_key)
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_attempts
        self._sleep = sleep
        self._most_silent = most_silent
        self._num_silent = 0
        self._has_replied = False
        self._probing = asyncio.Lock()
        self._chance = random.Random()  # noqa: S311 - it spreads waits, and guards nothing
        self._fingerprint = judge.fingerprint

    async def settle(self, triple: _Triple) -> str:
        """Ask until a reply can be read, and keep what comes; returns why none can, or nothing."""
        reason = ""
        while not _is_settled(self.replies.find(self._fingerprint, *triple)):
            try:
                reply = await self._patiently(triple)
            except _Refused as refused:
                await self._check_it_is_not_all(refused)
                return str(refused)
            except _NoReply as silence:
                self._note_silence(silence)
                reason = f"no reply after {self._max_attempts} tries: {silence}"
                break
            self._num_silent, self._has_replied = 0, True
            self.replies.add(self.judge, *triple, reply)
        return reason

    async def _patiently(self, triple: _Triple) -> Reply:
        """Ask, waiting longer each time there is no reply; three broken connections make sure that the judge is there."""
        for attempt in range(1, self._max_attempts + 1):
            try:
                return await self._once(triple)
            except _NoReply as silence:
                if attempt == self._max_attempts:
                    raise
                if silence.is_connection and attempt == 3 and triple != PROBE:
                    await self._check_it_is_not_all(silence)
                usual = min(FIRST_WAIT_SECONDS * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS)
                await self._sleep(max(self._chance.uniform(usual / 2, usual), silence.wait_seconds))
        raise AssertionError("the last try returns or raises")

    async def _once(self, triple: _Triple) -> Reply:
        import openai

        create = cast("Any", self._client.chat.completions.with_raw_response.create)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answered = await create(**self.judge.request(*triple))
        except (TimeoutError, openai.APITimeoutError):
            raise _NoReply(f"nothing within {self._timeout_seconds:g} seconds") from None
        except openai.APIConnectionError as error:
            why = self._shown(str(error.__cause__ or error))
            raise _NoReply(f"the connection broke: {why}", is_connection=True) from None
        except openai.APIStatusError as error:
            self._judge_status(error.response.status_code, error.response.headers, error.response.content)
        return self._read(answered.http_response.content)

    def _judge_status(self, status: int, headers: Any, content: bytes) -> NoReturn:
        """Say what a status means that is no success: another try, not this request, or not this judge."""
        says = f"HTTP {status}, {self._shown(_message(content)) or 'without a word'}"
        is_spent = status == 429 and b"insufficient_quota" in content
        if (status in _PASSING or status >= 500) and not is_spent:
            raise _NoReply(says, wait_seconds=_asked_wait(headers)) from None
        if status in _OF_THE_REQUEST:
            raise _Refused(f"the judge refused it: {says}") from None
        hint = _HINTS[402] if is_spent else _HINTS.get(status, _HINT_FOR_ALL)
        raise JudgeError(f"the judge {self.judge.model!r} refuses: {says}", hint=hint) from None

    def _read(self, content: bytes) -> Reply:
        """Take the reply out of a chat completion."""
        try:
            body = json.loads(content)
            choice = body["choices"][0]
            text = choice["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise _NoReply(f"no chat completion came, but {self._shown(_message(content))!r}") from None
        if text is not None and not isinstance(text, str):
            raise _NoReply("the chat completion's content is no text")
        model, finish = body.get("model"), choice.get("finish_reason")
        return Reply(
            text=self._hidden(text or ""),
            model=self._shown(model) if isinstance(model, str) else "",
            finish=self._shown(finish) if isinstance(finish, str) else "",
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )

    async def _check_it_is_not_all(self, trouble: _Refused | _NoReply) -> None:
        """Where the judge has not replied at all yet, ask it something harmless, and stop where that fares no better.

        Raises:
            JudgeError: it refuses that, too.
            JudgeUnreachable: there is no reply to that, either.
        """
        async with self._probing:
            if self._has_replied:
                return
            try:
                await (self._once(PROBE) if isinstance(trouble, _NoReply) else self._patiently(PROBE))
            except _Refused as refused:
                raise JudgeError(f"{self.judge.model!r}, {refused}", hint=_HINT_FOR_ALL) from None
            except _NoReply as silence:
                raise self._unreachable(silence) from None
            self._has_replied = True

    def _note_silence(self, silence: _NoReply) -> None:
        self._num_silent += 1
        if self._num_silent >= self._most_silent:
            raise self._unreachable(silence) from None

    def _unreachable(self, silence: _NoReply) -> JudgeUnreachable:
        return JudgeUnreachable(
            f"the judge at {self._hidden(self.judge.base_url or HOSTED_URL)} does not reply: {silence}",
            hint="check that it runs; what it replied is kept, and the same command goes on",
        )

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[the key]")
        return text

    def _shown(self, text: str) -> str:
        """Bring what a server says into a short line that may be shown: the key is hidden before anything is cut."""
        return " ".join(self._hidden(text).split())[:200]


def _client(judge: Judge, api_key: str | None, timeout_seconds: float) -> openai.AsyncOpenAI:
    try:
        import openai
    except ImportError as error:
        raise JudgeError("a judge needs the openai package", hint="pip install 'vidzip[judge]'") from error
    if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise JudgeError("the key is empty or holds what no key does: spaces, line ends, other alphabets")
    if api_key is None and not judge.is_local:
        raise JudgeError("the judge needs a key", hint="put it into the environment")
    return openai.AsyncOpenAI(
        api_key=api_key or NO_KEY,
        base_url=judge.base_url or HOSTED_URL,
        max_retries=0,  # waiting is done here
        timeout=timeout_seconds,
        http_client=openai.DefaultAsyncHttpxClient(
            trust_env=not judge.is_local,  # no proxy stands before this machine
            follow_redirects=False,  # a key goes nowhere else
            timeout=timeout_seconds,
        ),
    )


@asynccontextmanager
async def _discreet() -> AsyncIterator[None]:
    """Keep the HTTP client from logging each byte that comes, in which a server may echo the key."""
    loggers = [logging.getLogger(name) for name in ("httpcore", "httpcore2")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _judgements(
    questions: Sequence[QuestionResult], fingerprint: str, replies: ReplyStore, reasons: dict[_Triple, str]
) -> dict[str, Judgement]:
    return {
        one.question_id: _judgement(one.question_id, replies.find(fingerprint, *triple), reasons.get(triple, ""))
        for one, triple in triples(questions)
    }


def _judgement(question_id: str, kept: Sequence[Reply], reason: str) -> Judgement:
    """What the kept replies say: the first that can be read counts."""
    says = ""
    for reply in kept:
        try:
            verdict, rating = parse_reply(reply.text)
        except UnreadableReply as error:
            cut = ", and was cut off" if reply.finish == "length" else ""
            says = f"{error}{cut}"
            continue
        return Judgement(question_id=question_id, verdict=verdict, rating=rating, reply=reply.text)
    return Judgement(
        question_id=question_id,
        verdict=None,
        rating=None,
        reason="; ".join(filter(None, (says, reason))) or "no reply is kept",
        reply=kept[-1].text if kept else "",
    )


def _is_settled(kept: Sequence[Reply]) -> bool:
    return len(kept) >= MOST_REPLIES or any(_can_be_read(reply.text) for reply in kept)


def _can_be_read(text: str) -> bool:
    try:
        parse_reply(text)
    except UnreadableReply:
        return False
    return True


def _message(content: bytes) -> str:
    """What the body of an error says: its message where it has the usual form, else its text."""
    text = content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(key):
            body = body[key]
    return body if isinstance(body, str) else json.dumps(body)


def _asked_wait(headers: Any) -> float:
    """How long a server asks to be left alone, in seconds; 0 where it does not say, or says nonsense."""
    in_ms, named = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds = math.nan
    try:
        if in_ms is not None:
            seconds = float(in_ms) / 1000
        elif named is not None:
            seconds = float(named)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(named or "").timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), HEEDED_SECONDS) if not math.isnan(seconds) else 0.0


def _spellings(api_key: str) -> tuple[str, ...]:
    """The key as it may stand in what a server echoes."""
    if len(api_key) < SHORTEST_SECRET:
        return ()
    return tuple(dict.fromkeys((api_key, json.dumps(api_key)[1:-1])))


def _tell_nobody(_done: int, _total: int) -> None:
    """Show nothing."""
