from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
import traceback
from email.utils import formatdate
from pathlib import Path

import pytest
from judge_server import JudgeServer, Sent, answered, completion, refusal, verdict

from eval.judging import (
    Judge,
    JudgeError,
    JudgeUnreachable,
    RepliesError,
    judge_answers,
    open_replies,
    pending_prompts,
    read_replies,
    replay,
)
from eval.judging.asking import MAX_FAILURES_IN_A_ROW, PROBE

SUPPORT = Path(__file__).resolve().parents[2] / "support"


def right(_asked) -> Sent:
    return verdict("yes", 4)


def ask(server, path, questions, **options):
    """Judge the questions; returns the judgements and the waits between attempts, in seconds, which are not waited."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    judge = Judge(model="m", base_url=server if isinstance(server, str) else server.url)
    with open_replies(str(path)) as replies:
        found = asyncio.run(
            judge_answers(
                questions, judge, replies, **{"timeout_seconds": 5.0, "max_attempts": 4, "sleep": sleep, **options}
            )
        )
    return found, waits


@pytest.fixture
def path(tmp_path):
    return tmp_path / "judge.jsonl"


# ---- failures of the server that another attempt may resolve, and replies that are unreadable

TRANSIENT = {
    "429": lambda: refusal(429, "slow down"),
    "429 with Retry-After": lambda: refusal(429, "slow down", Retry_After="1"),
    "500": lambda: refusal(500, "oops"),
    "502 of HTML": lambda: Sent(status=502, body=b"<html>Bad Gateway</html>", headers={"Content-Type": "text/html"}),
    "503 without a word": lambda: Sent(status=503),
    "408": lambda: refusal(408),
    "slow": lambda: verdict("no", 0, delay_seconds=1.5),
    "a byte at a time": lambda: verdict("no", 0, drip_seconds=0.1),
    "closed": lambda: Sent(raw=b""),
    "no HTTP": lambda: Sent(raw=b"\x00\xff garbage \r\n\r\n"),
    "half a response": lambda: verdict("no", 0, cut=60),
    "half JSON": lambda: Sent(body=b'{"choices": [{"message": {"content": "{\'pred\': \'no\''),
    "HTML": lambda: Sent(body=b"<html>Log in first</html>", headers={"Content-Type": "text/html"}),
    "nothing": lambda: Sent(body=b""),
    "no choices": lambda: Sent(body=b'{"choices": []}'),
    "another shape": lambda: Sent(body=b'[{"pred": "no", "score": 0}]'),
    "a verdict that is no completion": lambda: Sent(body=b'{"pred": "no", "score": 0}'),
    "content of no text": lambda: completion({"pred": "no", "score": 0}),
    "deep JSON": lambda: Sent(body=b"[" * 100_000),
    "no UTF-8": lambda: Sent(body=b'{"choices": "\xff\xfe\xfd"}'),
}
SLOW = {"slow", "a byte at a time"}


def timeout(way) -> float:
    """Limit on one attempt in seconds: low only if it is to be exceeded."""
    return 0.6 if way in SLOW else 20.0


UNREADABLE = {
    "garbage": "purple monkey",
    "half a reply": "{'pred': 'no', 'sc",
    "null": None,
    "an empty one": "",
    "two dicts": "{'pred': 'no', 'score': 0} {'pred': 'yes', 'score': 5}",
    "code": "{'pred': __import__('os').abort(), 'score': 0}",
}


@pytest.mark.parametrize("way", TRANSIENT)
def test_transient_failures_are_retried(path, way):
    def behave(asked):
        return TRANSIENT[way]() if asked.attempt < 4 and asked.question != PROBE.question else verdict("yes", 4)

    with JudgeServer(behave) as server:
        found, waits = ask(server, path, [answered(1)], timeout_seconds=timeout(way), max_attempts=5)
        assert (found["id1"].verdict, found["id1"].rating) == (True, 4)
        assert server.questions()["what is 1?"] == 4
    assert len(waits) == 3


@pytest.mark.parametrize("way", ["429", "closed", "HTML"])
def test_a_persistent_failure_leaves_a_question_unjudged_until_the_next_call(path, way):
    def behave(asked):
        return TRANSIENT[way]() if asked.question == "what is 1?" else verdict("yes", 4)

    questions = [answered(0), answered(1), answered(2)]
    with JudgeServer(behave) as server:
        found, _ = ask(server, path, questions, timeout_seconds=timeout(way), concurrency=1)
        assert [one.verdict for one in found.values()] == [True, None, True]
        assert found["id1"].rating is None
        assert found["id1"].reason
        assert server.questions() == {"what is 0?": 1, "what is 1?": 4, "what is 2?": 1}
        server.behave = right
        found, _ = ask(server, path, questions)
        assert [one.verdict for one in found.values()] == [True, True, True]
        assert server.questions() == {"what is 0?": 1, "what is 1?": 5, "what is 2?": 1}


@pytest.mark.parametrize("way", UNREADABLE)
def test_an_unreadable_reply_is_asked_for_three_times_and_kept(path, way):
    with JudgeServer(lambda asked: completion(UNREADABLE[way])) as server:
        found, waits = ask(server, path, [answered(1)])
        assert found["id1"].verdict is None
        assert found["id1"].reason
        assert found["id1"].reply == (UNREADABLE[way] or "")
        assert len(server.asked) == 3
        again, _ = ask(server, path, [answered(1)])
        assert len(server.asked) == 3, "three such replies are enough"
    assert again == found == replay([answered(1)], None, read_replies(str(path)))
    assert waits == []


def test_the_first_readable_reply_counts(path):
    with JudgeServer(lambda asked: completion("hm") if asked.attempt == 1 else verdict("no", 1)) as server:
        found, _ = ask(server, path, [answered(1)])
        assert len(server.asked) == 2
    assert (found["id1"].verdict, found["id1"].rating) == (False, 1)


def test_a_contradiction_is_flagged_and_kept(path):
    with JudgeServer(lambda asked: verdict("yes", 0)) as server:
        found, _ = ask(server, path, [answered(1)])
    assert found["id1"].verdict is True
    assert found["id1"].is_contradictory


def test_with_all_failures_at_once_every_answer_is_judged_or_unjudged(path):
    ways = {**TRANSIENT, **{name: lambda text=text: completion(text) for name, text in UNREADABLE.items()}}
    questions = [answered(name) for name in [*ways, *(f"fine {number}" for number in range(30))]]

    def behave(asked):
        name = asked.question.removeprefix("what is ").removesuffix("?")
        return ways[name]() if name in ways else verdict("yes", 4)

    with JudgeServer(behave) as server:
        found, _ = ask(server, path, questions, timeout_seconds=0.6, concurrency=4)
        assert server.most_at_once <= 4 + len(TRANSIENT)  # a request that was given up may still be answered
        assert list(found) == [one.question_id for one in questions]
        for question_id, judgement in found.items():
            if "fine" in question_id:
                assert judgement.verdict is True
            else:
                assert judgement.verdict is None, question_id
                assert judgement.reason
        before = server.questions()
        server.behave = right
        found, _ = ask(server, path, questions)
        asked_again = {name for name, count in server.questions().items() if count > before[name]}
    assert asked_again == {f"what is {name}?" for name in TRANSIENT}
    assert sum(one.verdict is True for one in found.values()) == len(TRANSIENT) + 30


# ---- waiting


def test_waits_double_and_jitter(path):
    with JudgeServer(lambda asked: refusal(500) if asked.attempt < 6 else verdict("yes", 4)) as server:
        _, waits = ask(server, path, [answered(1)], max_attempts=6)
    assert len(waits) == 5
    for wait, longest in zip(waits, [0.5, 1, 2, 4, 8], strict=True):
        assert longest / 2 <= wait <= longest


@pytest.mark.parametrize(
    ("headers", "at_least", "at_most"),
    [
        ({"Retry_After": "17"}, 17, 17),
        ({"Retry_After": "17.5"}, 17.5, 17.5),
        ({"retry_after_ms": "17500"}, 17.5, 17.5),
        ({"Retry_After": "1000000"}, 300, 300),
        ({"Retry_After": "inf"}, 300, 300),
        ({"Retry_After": "nan"}, 0, 0.5),
        ({"Retry_After": "-5"}, 0, 0.5),
        ({"Retry_After": "soon"}, 0, 0.5),
        ({"Retry_After": ""}, 0, 0.5),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_respected_within_limits(path, status, headers, at_least, at_most):
    behave = lambda asked: refusal(status, **headers) if asked.attempt == 1 else verdict("yes", 4)  # noqa: E731
    with JudgeServer(behave) as server:
        _, (wait,) = ask(server, path, [answered(1)])
    assert at_least <= wait <= at_most


def test_retry_after_as_a_date_is_respected(path):
    behave = lambda asked: (  # noqa: E731
        refusal(429, Retry_After=formatdate(time.time() + 30, usegmt=True)) if asked.attempt == 1 else verdict("yes", 4)
    )
    with JudgeServer(behave) as server:
        _, (wait,) = ask(server, path, [answered(1)])
    assert 25 < wait <= 30


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_the_number_of_simultaneous_requests_is_the_concurrency(path, concurrency):
    all_there = threading.Barrier(concurrency)
    first = iter(range(concurrency))

    def behave(_asked):
        if next(first, None) is not None:
            all_there.wait(30)  # breaks, and the test with it, unless so many are being asked at once
        return verdict("yes", 4, delay_seconds=0.01)

    with JudgeServer(behave) as server:
        found, _ = ask(
            server, path, [answered(number) for number in range(40)], concurrency=concurrency, max_attempts=1
        )
        assert server.most_at_once == concurrency
    assert [one.verdict for one in found.values()] == [True] * 40


# ---- what is asked, and what is not


def test_equal_answers_are_asked_about_once_and_failed_ones_never(path):
    questions = [
        answered(1),
        answered(1, question_id="same", video="other", kind="who"),
        answered(1, question_id="else", prediction="a cat"),
        answered(1, question_id="empty", prediction=""),
        answered(1, question_id="failed", prediction=None, failure="Crashed"),
    ]
    done = []
    with JudgeServer(right) as server:
        found, _ = ask(server, path, questions, on_progress=lambda *counts: done.append(counts))
        assert sorted(one.prediction for one in server.asked) == ["", "a cat", "a puppy"]
    assert list(found) == ["id1", "same", "else", "empty"]
    assert done == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_kept_replies_need_no_client(path, monkeypatch):
    with JudgeServer(right) as server:
        ask(server, path, [answered(1)])
        url = server.url
    monkeypatch.setitem(sys.modules, "openai", None)
    found, _ = ask(url, path, [answered(1)])
    assert found["id1"].verdict is True
    with pytest.raises(JudgeError, match=r"vidzip\[judge\]"):
        ask(url, path, [answered(2)])


def test_several_judges_share_a_file(path):
    with JudgeServer(right) as server, open_replies(str(path)) as replies:
        judges = [Judge(model=name, base_url=server.url) for name in ("m", "n")]
        for judge in judges:
            asyncio.run(judge_answers([answered(1)], judge, replies))
        assert [one.body["model"] for one in server.asked] == ["m", "n"]
        assert [pending_prompts([answered(1)], judge.fingerprint, replies) for judge in judges] == [[], []]


def test_the_model_that_replied_is_kept(path):
    with JudgeServer(lambda asked: verdict("yes", 4, model="m-of-next-week")) as server:
        ask(server, path, [answered(1)])
    assert read_replies(str(path)).models(Judge(model="m").fingerprint) == {"m-of-next-week"}


def test_a_second_writer_is_refused_before_anything_is_asked(path):
    with JudgeServer(right) as server:
        with open_replies(str(path)), pytest.raises(RepliesError, match=r"judge\.jsonl"):
            ask(server, path, [answered(1)])
        assert server.asked == []


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"max_attempts": 0}, {"timeout_seconds": 0}, {"timeout_seconds": float("nan")}]
)
def test_numbers_out_of_range_are_refused(path, options):
    with pytest.raises(ValueError, match="1 or more"):
        ask("http://localhost:1/v1", path, [answered(1)], **options)


def test_the_environment_does_not_send_answers_elsewhere(path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    with JudgeServer(right) as server:
        ask(server, path, [answered(1)])
        assert server.asked[0].authorization == "Bearer no-key-needed"


# ---- a judge that refuses everything


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "--judge-key-env"),
        (402, "credit"),
        (403, "may not use"),
        (404, "/v1"),
        (410, "check the URL"),
        (302, "check the URL"),
    ],
)
def test_a_status_that_concerns_every_question_stops_at_once(path, status, hint):
    with JudgeServer(lambda asked: refusal(status, "so it is")) as server:
        with pytest.raises(JudgeError, match=f"HTTP {status}, so it is") as caught:
            ask(server, path, [answered(number) for number in range(200)], concurrency=2)
        assert hint in caught.value.hint
        assert len(server.asked) <= 2


def test_an_account_without_credit_is_not_a_rate_limit(path):
    body = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    with JudgeServer(lambda asked: Sent(status=429, body=body)) as server:
        with pytest.raises(JudgeError, match="exceeded your quota"):
            ask(server, path, [answered(1)])
        assert len(server.asked) == 1


def test_a_refusal_of_every_request_stops_the_run(path):
    with JudgeServer(lambda asked: refusal(400, "no temperature for this model")) as server:
        with pytest.raises(JudgeError, match="HTTP 400, no temperature for this model"):
            ask(server, path, [answered(number) for number in range(200)], concurrency=1)
        assert [one.question for one in server.asked] == ["what is 0?", PROBE.question]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_one_request_leaves_it_unjudged(path, status):
    def behave(asked):
        return refusal(status, "too long") if len(asked.prediction) > 1000 else verdict("yes", 4)

    questions = [answered(0, prediction="x" * 1_000_000), answered(1), answered(2, prediction="y" * 2000)]
    with JudgeServer(behave) as server:
        found, _ = ask(server, path, questions, concurrency=1)
        assert [one.verdict for one in found.values()] == [None, True, None]
        assert f"HTTP {status}, too long" in found["id0"].reason
        assert [one.question for one in server.asked] == ["what is 0?", PROBE.question, "what is 1?", "what is 2?"]
    assert PROBE.question not in path.read_text()


def test_a_judge_that_is_not_there_is_reported_soon(path):
    with JudgeServer(right) as server:
        url = server.url
    with pytest.raises(JudgeUnreachable, match=r"http://127"):
        ask(url, path, [answered(number) for number in range(1000)], max_attempts=8)


def test_a_judge_that_stops_replying_ends_the_run_and_its_replies_are_kept(path):
    questions = [answered(number) for number in range(100)]
    early = {one.question for one in questions[:30]}
    with JudgeServer(lambda asked: verdict("yes", 4) if asked.question in early else refusal(503, "down")) as server:
        with pytest.raises(JudgeUnreachable, match="HTTP 503, down"):
            ask(server, path, questions, max_attempts=2, concurrency=1)
        assert len(server.asked) == 30 + MAX_FAILURES_IN_A_ROW * 2
        kept = replay(questions, None, read_replies(str(path)))
        assert sum(one.verdict is True for one in kept.values()) == 30
        already = len(server.asked)
        server.behave = right
        found, _ = ask(server, path, questions)
        assert len(server.asked) == already + 70
    assert all(one.verdict for one in found.values())


@pytest.mark.parametrize("wrong", ["", "two words", "line\nend", "schlüssel"])
def test_a_malformed_key_is_refused_without_being_shown(path, wrong):
    with pytest.raises(JudgeError, match="key") as caught:
        ask("http://127.0.0.1:9/v1", path, [answered(1)], api_key=wrong)
    assert not wrong or wrong not in str(caught.value)


def test_a_redirection_is_not_followed_with_the_key(path):
    with JudgeServer(right) as elsewhere:
        there = Sent(status=307, headers={"Location": f"{elsewhere.url}/chat/completions"})
        with JudgeServer(lambda asked: there) as server, pytest.raises(JudgeError, match="HTTP 307"):
            ask(server, path, [answered(1)], api_key="sk-0123456789")
        assert elsewhere.asked == []


def test_a_remote_judge_needs_a_key(path):
    with open_replies(str(path)) as replies, pytest.raises(JudgeError, match="key"):
        asyncio.run(judge_answers([answered(1)], Judge(), replies))


# ---- the key

KEY = 'sk-proj-"quoted"-and/longer-than-any-line-' + "0123456789" * 18


def echo(asked) -> bytes:
    return f"you sent {asked.authorization} and {asked.body}".encode()


@pytest.mark.parametrize(
    "behave",
    [
        lambda asked: refusal(401, f"Incorrect API key provided: {asked.authorization}"),
        lambda asked: Sent(status=403, body=b"x" * 190 + echo(asked)),
        lambda asked: Sent(status=400, body=echo(asked)),
        lambda asked: Sent(status=500, body=echo(asked)),
        lambda asked: Sent(body=echo(asked)),
        lambda asked: completion(f"{{'pred': 'yes', 'score': '{asked.authorization}'}}", model=asked.authorization, finish=asked.authorization),
        lambda asked: verdict("yes", 4, model=asked.authorization),
        lambda asked: Sent(raw=asked.authorization.encode() + b"\r\n\r\n"),
        lambda asked: Sent(status=302, headers={"Location": f"http://127.0.0.1:9/{asked.authorization.split()[1]}"}),
    ],
)  # fmt: skip
def test_the_key_appears_in_no_file_log_error_or_judgement(path, caplog, capfd, behave):
    caplog.set_level(logging.DEBUG)
    seen = []
    with JudgeServer(behave) as server:
        try:
            found, _ = ask(server, path, [answered(1)], api_key=KEY)
            seen.append(repr(found))
        except JudgeError as error:
            seen += traceback.format_exception(error)
        assert server.asked[0].authorization == f"Bearer {KEY}"
    out, err = capfd.readouterr()
    output = "".join([*seen, out, err, caplog.text, path.read_text()])
    for secret in (KEY, KEY.replace('"', '\\"'), "0123456789" * 2, "sk-proj"):
        assert secret not in output


# ---- interrupted


@pytest.mark.parametrize(("end", "concurrency"), [(signal.SIGKILL, 4), (signal.SIGINT, 4), (signal.SIGKILL, 1)])
def test_an_interrupted_call_resumes(path, end, concurrency):
    many, is_first = 60, threading.Event()
    is_first.set()

    def reply(asked):  # after 20 requests the first process waits, until it is ended
        return verdict("yes", 4, delay_seconds=5.0 if is_first.is_set() and len(server.asked) > 20 else 0.02)

    with JudgeServer(reply) as server:
        command = [sys.executable, str(SUPPORT / "judge_some.py"), server.url, str(path), str(many), str(concurrency)]
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(server.asked) < 20 and time.monotonic() < deadline:
            time.sleep(0.005)
        first.send_signal(end)
        assert first.wait(30) != 0
        is_first.clear()
        begun = dict(server.questions())
        assert 20 <= len(begun) < many
        second = subprocess.run(command, capture_output=True, text=True, check=True)
        assert second.stdout.count("true") == many
        assert len(server.questions()) == many
        twice = [name for name, count in server.questions().items() if count > 1]
        assert len(twice) <= concurrency, "only requests in progress are repeated"
