from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import click
import pytest
from judge_server import JudgeServer, answered, completion, refusal, verdict

from eval.judging import DEFAULT_MODEL, Judge, JudgeError, JudgeUnreachable, read_replies
from eval.results import Run
from pipelines.scoring.judging import REPLIES, judge_run
from pipelines.scoring.options import confirm_cost, takes_judge, yes_option
from vidzip.errors import BadArgument

SUPPORT = Path(__file__).resolve().parents[2] / "support"
KEY = "sk-proj-0123456789-abcdefghij"


def run_of(*questions) -> Run:
    return Run(name="run", settings={}, results=questions, num_questions=len(questions))


RUN = run_of(answered(1), answered(2), answered(3, prediction=None, failure="Crashed: it did"))


def judge(folder, *arguments, run=RUN, show=None):
    """Judge a run as a command with these arguments would."""

    @click.command()
    @takes_judge
    @yes_option
    def command(*, judge, yes):
        return judge_run(run, str(folder), judge, partial(confirm_cost, yes=yes), show)

    return command.main([str(one) for one in arguments], standalone_mode=False)


@pytest.fixture
def server():
    with JudgeServer(lambda asked: verdict("yes", 4, model="m")) as server:
        yield server


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Remove the key and the terminal of the machine."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("sys.stdin", None)


def test_without_a_judge_there_are_no_judgements(tmp_path):
    assert judge(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--judge-url", "http://localhost:1/v1"),
        ("--judge-replies", "file"),
        ("--judge-key-env", "NAME"),
        ("--judge-price", "1", "2"),
        ("--judge-reasoning", "none"),
    ],
)
def test_options_without_a_judge_to_ask_are_refused(tmp_path, arguments):
    with pytest.raises(BadArgument, match=arguments[0]):
        judge(tmp_path, *arguments)
    with pytest.raises(BadArgument, match=arguments[0]):
        judge(tmp_path, "--judge-replay", "file", *arguments)


def test_a_run_is_judged_and_its_replies_kept_in_its_folder(tmp_path, server, capsys):
    progress = []
    judgements = judge(
        tmp_path, "--judge", "m", "--judge-url", server.url, "--yes", show=lambda *one: progress.append(one)
    )
    assert judgements.judge == Judge(model="m").describe()
    assert {key: one.verdict for key, one in judgements.by_id.items()} == {"id1": True, "id2": True}
    assert progress == [("ask m", 0, 2), ("ask m", 1, 2), ("ask m", 2, 2)]
    assert judgements.judge["fingerprint"] in read_replies(str(tmp_path / REPLIES)).judges
    error = capsys.readouterr().err
    assert "note: m would be asked about 2 answers: about " in error
    assert "$" not in error
    assert "warning" not in error


def test_replies_are_kept_in_the_named_file(tmp_path, server):
    judge(tmp_path, "--judge", "m", "--judge-url", server.url, "--yes", "--judge-replies", tmp_path / "mine")
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_kept_replies_need_neither_confirmation_nor_server(tmp_path, server, capsys):
    first = judge(tmp_path, "--judge", "m", "--judge-url", server.url, "--yes")
    content = (tmp_path / REPLIES).read_bytes()
    capsys.readouterr()
    assert judge(tmp_path, "--judge", "m", "--judge-url", "http://127.0.0.1:9/v1") == first
    assert judge(tmp_path, "--judge", "m") == first
    assert judge(tmp_path, "--judge-replay", tmp_path / REPLIES) == first
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / REPLIES).read_bytes() == content
    assert len(server.asked) == 2


def test_the_estimate_counts_pending_answers_at_the_given_price(tmp_path, server, capsys):
    arguments = ("--judge", "m", "--judge-url", server.url, "--yes")
    judge(tmp_path, *arguments, run=run_of(answered(1)))
    capsys.readouterr()
    judge(tmp_path, *arguments, "--judge-price", "10000", "0")
    error = " ".join(capsys.readouterr().err.split())
    assert "asked about 1 answers (1 more " in error
    assert ", about $" in error
    assert "prices of" not in error
    with pytest.raises(BadArgument, match="prices"):
        judge(tmp_path, *arguments, "--judge-price", "-1", "2")


def test_the_default_is_a_pinned_model(tmp_path, server):
    judgements = judge(tmp_path, "--judge", "default", "--judge-url", server.url, "--yes")
    assert judgements.judge["model"] == DEFAULT_MODEL
    assert len(judgements.by_id) == 2


def test_without_a_terminal_the_judge_is_not_asked(tmp_path, server, capsys):
    with pytest.raises(BadArgument, match="--yes"):
        judge(tmp_path, "--judge", "m", "--judge-url", server.url)
    assert "m would be asked about 2 answers" in capsys.readouterr().err
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


ON_A_TERMINAL = """
import sys
sys.path.insert(0, {support!r})
import click
from judge_server import answered
from eval.results import Run
from pipelines.scoring.judging import judge_run
from pipelines.scoring.options import confirm_cost, takes_judge

@click.command()
@takes_judge
def command(*, judge):
    run = Run(name="r", settings={{}}, results=(answered(1), answered(2)), num_questions=2)
    judgements = judge_run(run, {folder!r}, judge, lambda cost: confirm_cost(cost, yes=False))
    print("judged", len(judgements.by_id))

command.main(["--judge", "m", "--judge-url", {url!r}], standalone_mode=False)
"""


@pytest.mark.parametrize(("typed", "num_asked"), [("y\n", 2), ("n\n", 0), ("\n", 0)])
def test_the_cost_is_confirmed_on_a_terminal(tmp_path, server, typed, num_asked):
    ours, theirs = pty.openpty()
    code = ON_A_TERMINAL.format(support=str(SUPPORT), folder=str(tmp_path), url=server.url)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen, has_typed, deadline = b"", False, time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                seen += os.read(ours, 4096)
            except OSError:
                break  # the other end is closed
        if b"Ask the judge? [y/N]" in seen and not has_typed:
            assert server.asked == [], "not confirmed yet"
            os.write(ours, typed.encode())
            has_typed = True
    os.close(ours)
    assert (process.wait(30) == 0) is (num_asked > 0)
    assert len(server.asked) == num_asked
    assert (b"judged 2" in seen) is (num_asked > 0)
    assert (b"CostRefused" in seen) is (num_asked == 0)


# ---- the key


def test_a_local_server_gets_a_key_only_if_its_variable_is_named(tmp_path, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    arguments = ("--judge", "m", "--judge-url", server.url, "--yes")
    judge(tmp_path, *arguments, run=run_of(answered(1)))
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    judge(tmp_path, *arguments, "--judge-key-env", "MY_KEY", run=run_of(answered(2)))
    assert [one.authorization for one in server.asked] == ["Bearer no-key-needed", f"Bearer {KEY}"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((), "OPENAI_API_KEY"),
        (("--judge-url", "https://judge.example/v1"), "OPENAI_API_KEY"),
        (("--judge-key-env", "MY_KEY"), "MY_KEY"),
        (("--judge-url", "http://localhost:9/v1", "--judge-key-env", "MY_KEY"), "MY_KEY"),
    ],
)
def test_a_missing_key_is_reported_with_its_variable(tmp_path, monkeypatch, arguments, name):
    monkeypatch.setenv("MY_KEY", " ")
    with pytest.raises(JudgeError, match=name):
        judge(tmp_path, "--judge", "m", "--yes", *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def everything(tmp_path, capfd, caplog):
    """Collects everything that was printed, logged and written."""
    caplog.set_level(0)

    def gather() -> str:
        files = [one.read_bytes().decode() for one in tmp_path.rglob("*") if one.is_file()]
        return "".join([*capfd.readouterr(), caplog.text, *files])

    return gather


@pytest.mark.parametrize("status", [401, 400, 500, 200])
def test_the_key_appears_nowhere(tmp_path, server, monkeypatch, everything, status):
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setattr("eval.judging.asking.FIRST_WAIT_SECONDS", 0.001)
    server.behave = lambda asked: (
        completion(f"your key is {asked.authorization}", model=KEY)
        if status == 200
        else refusal(status, f"Incorrect API key provided: {KEY}. You can find yours elsewhere.")
    )
    arguments = ("--judge", "m", "--judge-url", server.url, "--yes", "--judge-key-env", "MY_KEY")
    if status in {200, 500}:
        output = [repr(judge(tmp_path, *arguments))]
    else:
        with pytest.raises(JudgeError) as caught:
            judge(tmp_path, *arguments)
        output = [*traceback.format_exception(caught.value), repr(caught.value)]
    assert server.asked[0].authorization == f"Bearer {KEY}"
    output.append(everything())
    assert KEY not in "".join(output)
    assert "[the key]" in "".join(output)


@pytest.mark.parametrize("url", ["http://me:hunter2@localhost/v1", "http://localhost/v1?key=hunter2"])
def test_a_url_with_a_secret_is_refused_and_not_repeated(tmp_path, capsys, url):
    with pytest.raises(JudgeError, match="URL") as caught:
        judge(tmp_path, "--judge", "m", "--judge-url", url, "--yes")
    assert "hunter2" not in "".join([*traceback.format_exception(caught.value), *capsys.readouterr()])


# ---- failures


def test_a_wrong_key_names_what_to_check(tmp_path, server):
    server.behave = lambda asked: refusal(401, "Incorrect API key")
    with pytest.raises(JudgeError, match=r"HTTP 401, Incorrect API key.*--judge-key-env"):
        judge(tmp_path, "--judge", "m", "--judge-url", server.url, "--yes")


def test_a_judge_that_is_not_there_is_a_system_fault(tmp_path):
    with pytest.raises(JudgeUnreachable, match="127"):
        judge(tmp_path, "--judge", "m", "--judge-url", "http://127.0.0.1:9/v1", "--yes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--judge-concurrency", "0"), "concurrency is 0"), (("--judge-timeout", "0"), "timeout is 0"), (("--judge-timeout", "nan"), "timeout is nan")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(tmp_path, arguments, message):
    with pytest.raises(BadArgument, match=message):
        judge(tmp_path, "--judge", "m", *arguments)


def test_an_empty_model_is_refused(tmp_path):
    with pytest.raises(JudgeError, match="model"):
        judge(tmp_path, "--judge", "")


def test_another_model_than_was_asked_gets_a_warning(tmp_path, server, capsys):
    server.behave = lambda asked: verdict("yes", 4, model="m-2026-\x1b[31m")
    judge(tmp_path, "--judge", "m", "--judge-url", server.url, "--yes")
    assert "warning: m was asked, and m-2026-\\x1b[31m" in capsys.readouterr().err
    judge(tmp_path, "--judge-replay", tmp_path / REPLIES)
    assert "warning: m was asked, and m-2026-" in capsys.readouterr().err


def test_a_revision_after_the_name_is_the_same_model(tmp_path, server, capsys):
    server.behave = lambda asked: verdict("yes", 4, model="m@main")
    judge(tmp_path, "--judge", "m", "--judge-url", server.url, "--yes")
    assert "warning" not in capsys.readouterr().err


def test_an_interruption_reports_where_the_replies_are(tmp_path, server, capsys):
    def show(_stage, done, _total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(click.Abort):
        judge(tmp_path, "--judge", "m", "--judge-url", server.url, "--yes", "--judge-concurrency", "1", show=show)
    assert f"kept in {tmp_path / REPLIES}" in " ".join(capsys.readouterr().err.split())
    judge(tmp_path, "--judge", "m", "--judge-url", server.url, "--yes")
    assert server.questions() == {"what is 1?": 1, "what is 2?": 1}


# ---- replay


def test_replay_of_several_judges_needs_one_to_be_named(tmp_path, server):
    for name in ("m", "n"):
        judge(tmp_path, "--judge", name, "--judge-url", server.url, "--yes")
    path = tmp_path / REPLIES
    with pytest.raises(JudgeError, match=r"m \(.*\), n "):
        judge(tmp_path, "--judge-replay", path)
    for name in ("n", Judge(model="n").fingerprint):
        judgements = judge(tmp_path, "--judge-replay", path, "--judge", name)
        assert judgements.judge["model"] == "n"
        assert len(judgements.by_id) == 2
    with pytest.raises(JudgeError, match="'x'"):
        judge(tmp_path, "--judge-replay", path, "--judge", "x")


@pytest.mark.parametrize("name", ["missing", "."])
def test_replay_of_no_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JudgeError, match="kept replies"):
        judge(tmp_path, "--judge-replay", name)


def test_replay_of_another_file_is_refused(tmp_path):
    (tmp_path / "other").write_text("id,answer\n1,2\n")
    with pytest.raises(JudgeError, match="line 1"):
        judge(tmp_path, "--judge-replay", tmp_path / "other")


def test_answers_without_a_kept_reply_are_unjudged(tmp_path, server):
    judge(tmp_path, "--judge", "m", "--judge-url", server.url, "--yes", run=run_of(answered(1)))
    judgements = judge(tmp_path, "--judge-replay", tmp_path / REPLIES)
    assert [(one.verdict, one.reason) for one in judgements.by_id.values()] == [(True, ""), (None, "no reply is kept")]
