"""Asking a judge about answers: concurrently, with retries, keeping each reply as it comes."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from eval.judging.errors import JudgeError, JudgeUnreachable
from eval.judging.judge import HOSTED_URL, Judge
from eval.judging.parsing import Judgement, UnreadableReply, parse_reply
from eval.judging.replies import Reply, ReplyStore
from eval.results import QuestionResult

if TYPE_CHECKING:
    import openai

MAX_REPLIES = 3
"""After so many unreadable replies about an answer, the judge is not asked again, and the answer is unjudged."""

FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.5, 60.0
"""Waits double between attempts. A server may ask for longer ones, up to :data:`MAX_RETRY_AFTER_SECONDS`."""

MAX_RETRY_AFTER_SECONDS = 300.0

MAX_FAILURES_IN_A_ROW = 20
"""After so many answers in a row without a reply, the judge is considered down. (At least the concurrency.)"""

MIN_SECRET_LENGTH = 8
"""A shorter key is a placeholder, such as ``x``, not a secret to be hidden in a server's messages."""

NO_KEY = "no-key-needed"
"""Sent to a local server without a key: the client requires one."""


class Prompt(NamedTuple):
    """The texts that a judge compares."""

    question: str
    answer: str
    prediction: str


PROBE = Prompt("What color is the sky on a clear day?", "blue", "it is blue")
"""A harmless prompt that shows whether a judge refuses one answer or all of them; it has no score."""

_RETRIED_STATUSES = {408, 409, 425, 429}
"""HTTP statuses below 500 that another attempt may resolve."""

_STATUSES_OF_THE_REQUEST = {400, 413, 422}
"""HTTP statuses that may concern this request only: too long, say, or caught by a filter."""

_HINTS = {
    401: "check the key in the environment variable that holds it (--judge-key-env names it)",
    402: "add credit to the account",
    403: "this key may not use the model",
    404: "check the model's name, and that the URL ends in /v1",
}
_DEFAULT_HINT = "check the URL, the model's name, and whether it accepts a temperature and max_completion_tokens"


class _NoReply(Exception):
    """There was no reply; another attempt may get one."""

    def __init__(self, reason: str, *, wait_seconds: float = 0.0, is_connection: bool = False) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds
        self.is_connection = is_connection


class _Refused(Exception):
    """The judge refuses this request; another attempt would be refused, too."""


def prompts(results: Sequence[QuestionResult]) -> list[tuple[QuestionResult, Prompt]]:
    """The questions with a prediction, each with its prompt."""
    return [(one, Prompt(one.question, one.answer, one.prediction)) for one in results if one.prediction is not None]


def pending_prompts(results: Sequence[QuestionResult], fingerprint: str, replies: ReplyStore) -> list[Prompt]:
    """The prompts that a judge still has to be asked, each once, in order."""
    unique = dict.fromkeys(prompt for _, prompt in prompts(results))
    return [prompt for prompt in unique if not _is_done(replies.find(fingerprint, *prompt))]


def replay(results: Sequence[QuestionResult], judge_name: str | None, replies: ReplyStore) -> dict[str, Judgement]:
    """Judge from kept replies only.

    Args:
        results: the answers to judge; those without a prediction get no judgement.
        judge_name: the judge's model or fingerprint; None if the file has replies of one judge only.
        replies: the first readable reply counts; an answer without one is unjudged.

    Raises:
        RepliesError: no judge matches, or more than one.
    """
    return _judgements(results, replies.choose(judge_name), replies, {})


async def judge_answers(
    results: Sequence[QuestionResult],
    judge: Judge,
    replies: ReplyStore,
    *,
    concurrency: int = 8,
    timeout_seconds: float = 60.0,
    max_attempts: int = 8,
    api_key: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, Judgement]:
    """Ask a judge about every answer without a kept reply.

    Rate limits (429), server errors (5xx), timeouts and broken connections are retried after a wait, unreadable replies
    up to :data:`MAX_REPLIES` times. Answers that are still without a verdict are unjudged, with the reason. However the
    call ends, the replies so far are kept, and a second call asks for the rest. An empty prediction is judged like any
    other.

    Args:
        results: the answers to judge; those without a prediction get no judgement, and equal ones are asked once.
        judge: the judge.
        replies: opened with :func:`eval.judging.open_replies`.
        concurrency: number of simultaneous requests.
        timeout_seconds: limit on one attempt, from its first byte to the last byte of the reply.
        max_attempts: limit on the attempts of one request.
        api_key: the secret; it is neither kept nor shown. A local server needs none.
        on_progress: receives the numbers of finished and of all prompts.
        sleep: waits for some seconds.

    Returns:
        Judgements by question id.

    Raises:
        JudgeError: the openai package or the key is missing, or the judge refuses every request; the message contains
            the server's status and text.
        JudgeUnreachable: it does not reply at all.
        RepliesError: replies cannot be kept.
    """
    if concurrency < 1 or max_attempts < 1 or not timeout_seconds > 0:
        raise ValueError("concurrency and max_attempts must be 1 or more, timeout_seconds more than 0")
    pending = pending_prompts(results, judge.fingerprint, replies)
    reasons: dict[Prompt, str] = {}
    if pending:
        async with _client(judge, api_key, timeout_seconds) as client, _quiet_http_logs():
            asker = _Asker(
                client=client,
                judge=judge,
                replies=replies,
                secrets=_spellings(api_key or ""),
                timeout_seconds=timeout_seconds,
                max_attempts=max_attempts,
                sleep=sleep,
                max_failures=max(MAX_FAILURES_IN_A_ROW, concurrency),
            )
            reasons = await _ask_all(asker, pending, concurrency, on_progress)
    return _judgements(results, judge.fingerprint, replies, reasons)


async def _ask_all(
    asker: _Asker, pending: Sequence[Prompt], concurrency: int, on_progress: Callable[[int, int], None]
) -> dict[Prompt, str]:
    """Ask about all prompts; returns why there is no readable reply, for those without one."""
    reasons: dict[Prompt, str] = {}
    queue = iter(pending)
    num_done = 0

    async def work() -> None:
        nonlocal num_done
        for prompt in queue:
            reason = await asker.ask(prompt)
            if reason:
                reasons[prompt] = reason
            num_done += 1
            on_progress(num_done, len(pending))

    on_progress(0, len(pending))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(pending))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return reasons


@dataclass(kw_only=True)
class _Asker:
    """Asks one judge until it has replied, or refuses to."""

    client: openai.AsyncOpenAI
    judge: Judge
    replies: ReplyStore
    secrets: Sequence[str]
    timeout_seconds: float
    max_attempts: int
    sleep: Callable[[float], Awaitable[None]]
    max_failures: int
    num_failures: int = 0
    has_replied: bool = False
    probing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, prompt: Prompt) -> str:
        """Ask until a reply is readable, and keep all replies; returns why none is readable, or an empty text."""
        while not _is_done(self.replies.find(self.judge.fingerprint, *prompt)):
            try:
                reply = await self._with_retries(prompt)
            except _Refused as refused:
                await self._check_others_get_replies(refused)
                return str(refused)
            except _NoReply as error:
                self.num_failures += 1
                if self.num_failures >= self.max_failures:
                    raise self._unreachable(error) from None
                return f"no reply after {self.max_attempts} attempts: {error}"
            self.num_failures, self.has_replied = 0, True
            self.replies.add(self.judge, *prompt, reply)
        return ""

    async def _with_retries(self, prompt: Prompt) -> Reply:
        """Ask, waiting longer after each failed attempt; after three broken connections, check that the judge is up."""
        for attempt in range(1, self.max_attempts + 1):
            try:
                return await self._attempt(prompt)
            except _NoReply as error:
                if attempt == self.max_attempts:
                    raise
                if error.is_connection and attempt == 3 and prompt != PROBE:
                    await self._check_others_get_replies(error)
                wait = min(FIRST_WAIT_SECONDS * 2 ** (attempt - 1), MAX_WAIT_SECONDS)
                jittered = random.uniform(wait / 2, wait)  # noqa: S311 - not for security
                await self.sleep(max(jittered, error.wait_seconds))
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, prompt: Prompt) -> Reply:
        import openai

        create = cast("Any", self.client.chat.completions.with_raw_response.create)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                response = await create(**self.judge.request(*prompt))
        except (TimeoutError, openai.APITimeoutError):
            raise _NoReply(f"nothing within {self.timeout_seconds:g} seconds") from None
        except openai.APIConnectionError as error:
            cause = self._safe(str(error.__cause__ or error))
            raise _NoReply(f"the connection broke: {cause}", is_connection=True) from None
        except openai.APIStatusError as error:
            self._raise_for_status(error.response.status_code, error.response.headers, error.response.content)
        return self._read_reply(response.http_response.content)

    def _raise_for_status(self, status: int, headers: Any, content: bytes) -> NoReturn:
        """Raise what an error status means: another attempt may help, not this request, or not this judge."""
        message = f"HTTP {status}, {self._safe(_error_message(content)) or 'without a message'}"
        is_out_of_credit = status == 429 and b"insufficient_quota" in content
        if (status in _RETRIED_STATUSES or status >= 500) and not is_out_of_credit:
            raise _NoReply(message, wait_seconds=_retry_after_seconds(headers)) from None
        if status in _STATUSES_OF_THE_REQUEST:
            raise _Refused(f"the judge refused the request: {message}") from None
        hint = _HINTS[402] if is_out_of_credit else _HINTS.get(status, _DEFAULT_HINT)
        raise JudgeError(f"the judge {self.judge.model!r} refuses all requests: {message}", hint=hint) from None

    def _read_reply(self, content: bytes) -> Reply:
        """Read the reply from a chat completion."""
        try:
            body = json.loads(content)
            choice = body["choices"][0]
            text = choice["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise _NoReply(f"not a chat completion: {self._safe(_error_message(content))!r}") from None
        if text is not None and not isinstance(text, str):
            raise _NoReply("the chat completion's content is not text")
        model, finish = body.get("model"), choice.get("finish_reason")
        return Reply(
            text=self._without_key(text or ""),
            model=self._safe(model) if isinstance(model, str) else "",
            finish=self._safe(finish) if isinstance(finish, str) else "",
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )

    async def _check_others_get_replies(self, error: _Refused | _NoReply) -> None:
        """If the judge has not replied to anything yet, ask about the probe.

        Raises:
            JudgeError: it refuses the probe, too.
            JudgeUnreachable: it does not reply to the probe, either.
        """
        async with self.probing:
            if self.has_replied:
                return
            try:
                await (self._attempt(PROBE) if isinstance(error, _NoReply) else self._with_retries(PROBE))
            except _Refused as refused:
                raise JudgeError(f"{self.judge.model!r}, {refused}", hint=_DEFAULT_HINT) from None
            except _NoReply as no_reply:
                raise self._unreachable(no_reply) from None
            self.has_replied = True

    def _unreachable(self, error: _NoReply) -> JudgeUnreachable:
        return JudgeUnreachable(
            f"the judge at {self._without_key(self.judge.base_url or HOSTED_URL)} does not reply: {error}",
            hint="check that it is running, then run the same command again: replies are kept",
        )

    def _without_key(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "[the key]")
        return text

    def _safe(self, text: str) -> str:
        """Shorten a server's message to one line, without the key."""
        return " ".join(self._without_key(text).split())[:200]


def _client(judge: Judge, api_key: str | None, timeout_seconds: float) -> openai.AsyncOpenAI:
    try:
        import openai
    except ImportError as error:
        raise JudgeError("a judge needs the openai package", hint="pip install 'vidzip[judge]'") from error
    if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise JudgeError("the key is empty, or contains spaces, line breaks or characters outside ASCII")
    if api_key is None and not judge.is_local:
        raise JudgeError("the judge needs a key", hint="put it into the environment")
    return openai.AsyncOpenAI(
        api_key=api_key or NO_KEY,
        base_url=judge.base_url or HOSTED_URL,
        max_retries=0,  # _Asker retries
        timeout=timeout_seconds,
        http_client=openai.DefaultAsyncHttpxClient(
            trust_env=not judge.is_local,  # no proxy for a local server
            follow_redirects=False,  # sends the key to no other server
            timeout=timeout_seconds,
        ),
    )


@asynccontextmanager
async def _quiet_http_logs() -> AsyncIterator[None]:
    """Keep the HTTP client from logging received bytes, in which a server may echo the key."""
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
    results: Sequence[QuestionResult], fingerprint: str, replies: ReplyStore, reasons: dict[Prompt, str]
) -> dict[str, Judgement]:
    return {
        one.question_id: _judgement(one.question_id, replies.find(fingerprint, *prompt), reasons.get(prompt, ""))
        for one, prompt in prompts(results)
    }


def _judgement(question_id: str, replies: Sequence[Reply], reason: str) -> Judgement:
    """Judge from kept replies: the first readable one counts."""
    unreadable = ""
    for reply in replies:
        try:
            verdict, rating = parse_reply(reply.text)
        except UnreadableReply as error:
            unreadable = f"{error}{', and was cut off' if reply.finish == 'length' else ''}"
            continue
        return Judgement(question_id=question_id, verdict=verdict, rating=rating, reply=reply.text)
    return Judgement(
        question_id=question_id,
        verdict=None,
        rating=None,
        reason="; ".join(filter(None, (unreadable, reason))) or "no reply is kept",
        reply=replies[-1].text if replies else "",
    )


def _is_done(replies: Sequence[Reply]) -> bool:
    return len(replies) >= MAX_REPLIES or any(_is_readable(reply.text) for reply in replies)


def _is_readable(text: str) -> bool:
    try:
        parse_reply(text)
    except UnreadableReply:
        return False
    return True


def _error_message(content: bytes) -> str:
    """The message in an error's body if it has the usual form, else the whole body."""
    text = content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(key):
            body = body[key]
    return body if isinstance(body, str) else json.dumps(body)


def _retry_after_seconds(headers: Any) -> float:
    """The wait that a server asks for, in seconds; 0 if it asks for none or the header is malformed."""
    in_ms, value = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds = math.nan
    try:
        if in_ms is not None:
            seconds = float(in_ms) / 1000
        elif value is not None:
            seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value or "").timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if not math.isnan(seconds) else 0.0


def _spellings(api_key: str) -> tuple[str, ...]:
    """The spellings of the key in a server's messages."""
    if len(api_key) < MIN_SECRET_LENGTH:
        return ()
    return tuple(dict.fromkeys((api_key, json.dumps(api_key)[1:-1])))
