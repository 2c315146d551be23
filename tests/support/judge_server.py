"""A local OpenAI-compatible server that misbehaves as a test asks it to."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from eval.results import QuestionResult


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request.

    Attributes:
        question: the question; answer and prediction likewise.
        attempt: number of the request about the same three texts, from 1.
        body: the whole body.
        authorization: the header.
    """

    question: str
    answer: str
    prediction: str
    attempt: int
    body: dict
    authorization: str


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A response of the server.

    Attributes:
        body: the body.
        delay_seconds: before the first byte.
        drip_seconds: between two bytes.
        cut: number of bytes that are missing from the body, in spite of Content-Length.
        raw: sent instead of HTTP; ``b""`` closes the connection.
    """

    status: int = 200
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    cut: int = 0
    raw: bytes | None = None


def answered(number, **fields) -> QuestionResult:
    """A question of a run; the number makes it unique."""
    usual = {
        "question_id": f"id{number}",
        "video": "v",
        "kind": "what",
        "question": f"what is {number}?",
        "answer": "a dog",
        "prediction": "a puppy",
        "failure": "",
        "trace": {},
    }
    return QuestionResult(**{**usual, **fields})


def completion(text, *, model=None, finish="stop", **how) -> Sent:
    """A well-formed chat completion."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
    return Sent(body=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, **how)


def verdict(pred: str, score: int, **how) -> Sent:
    """A chat completion with a verdict."""
    return completion(json.dumps({"pred": pred, "score": score}), **how)


def refusal(status: int, message: str = "no", **headers: str) -> Sent:
    """An error in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": None}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Sent(status=status, body=body, headers={"Content-Type": "application/json", **named})


class JudgeServer:
    """Answers every request with ``behave``, in its own thread, until its block ends.

    Attributes:
        asked: all requests, in order.
        most_at_once: largest number of simultaneous requests.
    """

    def __init__(self, behave: Callable[[Asked], Sent]) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._now = 0
        self._times: Counter = Counter()
        self._lock = threading.Lock()
        self._server = _Quiet(("127.0.0.1", 0), _Handler)
        self._server.judge = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def questions(self) -> Counter:
        """Number of requests about each question."""
        return Counter(one.question for one in self.asked)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, body: dict, authorization: str) -> Sent:
        fields = json.loads(body["messages"][1]["content"])
        texts = (fields["question"], fields["correct_answer"], fields["predicted_answer"])
        with self._lock:
            self._times[texts] += 1
            asked = Asked(
                question=texts[0],
                answer=texts[1],
                prediction=texts[2],
                attempt=self._times[texts],
                body=body,
                authorization=authorization,
            )
            self.asked.append(asked)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            sent = self.behave(asked)
            time.sleep(sent.delay_seconds)
            return sent
        finally:
            with self._lock:
                self._now -= 1


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request, client_address) -> None:
        """Ignore clients that gave up, as some tests want them to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sent = self.server.judge.take(body, self.headers.get("Authorization", ""))
        if sent.raw is not None:
            self.wfile.write(sent.raw)
            self.close_connection = True
            return
        head = [f"HTTP/1.1 {sent.status} Reason", f"Content-Length: {len(sent.body)}"]
        head += [f"{name}: {value}" for name, value in sent.headers.items()]
        text = "\r\n".join(head).encode() + b"\r\n\r\n" + sent.body[: len(sent.body) - sent.cut]
        if sent.drip_seconds:
            with suppress(OSError):
                for byte in text:
                    self.wfile.write(bytes([byte]))
                    time.sleep(sent.drip_seconds)
        else:
            self.wfile.write(text)
        if sent.cut:
            self.close_connection = True

    def log_message(self, *_arguments) -> None:
        """Log nothing."""
