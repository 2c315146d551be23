from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import pytest

from pipelines.chat import COMMANDS, ChatOutput, run_chat
from pipelines.cli import main
from vidzip import Budget, plan
from vidzip.errors import BadQuestion, ContextTooLong

QUESTIONS = ["What is shown?", "Where?", "How many?"]


@pytest.fixture(scope="module")
def session(small, clip):
    return small.session(small.pack(clip, plan(clip, Budget(num_frames=8))))


class Heard:
    """All that a conversation says."""

    def __init__(self, *, interactive: bool = True) -> None:
        self.answers: list[tuple[str, str]] = []
        self.errors: list[Exception] = []
        self.listener = ChatOutput(
            print_answer=lambda question, answer: self.answers.append((question, answer.text)),
            print_error=self.errors.append,
            show_progress=nullcontext,
            interactive=interactive,
        )


def texts(session, *questions: str) -> list[tuple[str, str]]:
    chat = session.chat()
    return [(question, chat.ask(question, 6).text) for question in questions]


def test_every_line_is_put_behind_what_was_said(session):
    heard = Heard()
    assert run_chat(session, [f" {question}\n" for question in QUESTIONS] + ["", "\n"], heard.listener, 6)
    assert heard.answers == texts(session, *QUESTIONS)
    assert heard.answers[1] != texts(session, QUESTIONS[1])[0]


def test_new_forgets_what_was_said(session, capsys):
    heard = Heard()
    assert run_chat(session, [QUESTIONS[0], "/new", QUESTIONS[1]], heard.listener, 6)
    assert heard.answers == [*texts(session, QUESTIONS[0]), *texts(session, QUESTIONS[1])]
    assert capsys.readouterr().err == "note: a new conversation\n"


def test_quit_ends_it_before_another_line_is_read(session):
    heard = Heard()

    def lines():
        yield "/quit"
        raise AssertionError("a line was read")

    assert run_chat(session, lines(), heard.listener, 6)
    assert heard.answers == []


@pytest.mark.parametrize("bad", ["Is <video> a word?", "caf\udce9?", "/nwe"])
def test_a_bad_question_is_refused_and_the_conversation_goes_on(session, bad):
    heard = Heard()
    assert not run_chat(session, [QUESTIONS[0], bad, QUESTIONS[1]], heard.listener, 6)
    assert heard.answers == texts(session, *QUESTIONS[:2])
    (error,) = heard.errors
    assert isinstance(error, BadQuestion)
    if bad == "/nwe":
        assert error.hint == COMMANDS


def test_a_path_is_a_question(session):
    heard = Heard()
    assert run_chat(session, ["/etc/passwd is what?"], heard.listener, 2)
    assert len(heard.answers) == 1


def test_a_full_context_is_said_with_the_way_out(session):
    heard = Heard()
    model = session.language
    opening = session.visual_tokens + model.family.prompt(QUESTIONS[0]).num_tokens
    most = model.family.config.text_config.max_position_embeddings - opening
    model.family.network.generation_config.eos_token_id, before = (
        list(range(420)),
        model.family.network.generation_config.eos_token_id,
    )
    try:  # answers end at once: the room is what they might take
        assert not run_chat(session, [QUESTIONS[0], QUESTIONS[0], "/new", QUESTIONS[0]], heard.listener, most)
        assert len(heard.answers) == 2
        (error,) = heard.errors
        assert isinstance(error, ContextTooLong)
        assert "context of 4096" in error.message
        assert "/new" in error.hint
        assert not run_chat(session, [QUESTIONS[0]], heard.listener, most + 1)
        assert "lower --max-new-tokens" in heard.errors[1].hint
    finally:
        model.family.network.generation_config.eos_token_id = before


@pytest.fixture
def interrupted(small):
    """The second forward pass of the language model is interrupted half way."""
    passes = 0

    def interrupt(*_):
        nonlocal passes
        passes += 1
        if passes == 2:
            raise KeyboardInterrupt

    hook = small.network.get_submodule("model.language_model.layers.1").register_forward_pre_hook(interrupt)
    yield
    hook.remove()


def test_an_interruption_ends_the_answer_alone_where_a_person_types(session, capsys, interrupted):
    heard = Heard()
    assert run_chat(session, QUESTIONS[:2], heard.listener, 6)
    assert capsys.readouterr().err.startswith("note: interrupted")
    assert heard.answers == texts(session, QUESTIONS[1])


def test_an_interruption_ends_it_all_in_a_pipe(session, interrupted):
    with pytest.raises(KeyboardInterrupt):
        run_chat(session, QUESTIONS[:2], Heard(interactive=False).listener, 6)


# The command, with lines from a pipe.


def chat(monkeypatch, lines: str, *arguments: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return main(["chat", *arguments])


def test_a_pipe_gets_an_answer_a_line_and_no_prompt(pack, capsys, monkeypatch):
    capsys.readouterr()
    assert chat(monkeypatch, "Where is the star?\n\nWhat color is the star?\n", str(pack)) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == "note: no --model was named: tiny answers, which knows coloured shapes only\n"


def test_a_pipe_gets_an_object_a_line(clip, capsys, monkeypatch):
    options = ["--frames", "60", "--model", "tiny-random", "--max-new-tokens", "4", "--json"]
    assert chat(monkeypatch, "What?\n/new\nWhat?\nWhat?", str(clip), *options) == 0
    out, err = capsys.readouterr()
    first, anew, again = [json.loads(line) for line in out.splitlines()]
    assert first["schema"] == "vidzip/answer/1"
    assert (first["question"], first["frames"], first["visual_tokens"], first["video"]) == ("What?", 50, 136, str(clip))
    assert (first["answer"], first["finish_reason"]) == (anew["answer"], "length")
    assert again["answer"] != anew["answer"]
    assert err == f"warning: {first['warnings'][0]}\n"


def test_an_answer_takes_one_line_in_a_pipe(pack, capsys, monkeypatch):
    monkeypatch.setattr("vidzip.models.session.Session.answer", lambda *_, **__: three_lines())
    capsys.readouterr()
    assert chat(monkeypatch, "What?\n", str(pack)) == 0
    assert capsys.readouterr().out == "one two three …\n"


def three_lines():
    from vidzip import Answer

    return Answer(text="one\ntwo\nthree", finish_reason="length", visual_tokens=1, new_tokens=3)


def test_what_is_wrong_with_a_question_is_said_and_makes_the_exit_code_2(pack, capsys, monkeypatch):
    capsys.readouterr()
    assert chat(monkeypatch, "Where is <video>?\nWhere is the dog?\nWhere is the cat?\n", str(pack)) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    said = err.splitlines()
    assert said[1].startswith("error: the question contains the model's special token '<video>'")
    assert said[2].startswith("hint: ")
    assert said[3] == "warning: tiny does not know 'dog'"
    assert said[4].startswith("hint: tiny was trained on")  # once
    assert said[5:] == ["warning: tiny does not know 'cat'"]


def test_a_question_that_fails_shows_where_on_demand(pack, capsys, monkeypatch):
    capsys.readouterr()
    assert chat(monkeypatch, "<video>\n", str(pack), "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_in_a_pipe_is_130(pack, capsys, monkeypatch):
    monkeypatch.setattr("vidzip.models.session.Chat.ask", lambda *_: signal.raise_signal(signal.SIGINT))
    capsys.readouterr()
    assert chat(monkeypatch, "What?\n", str(pack)) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"


def test_no_room_for_any_answer_is_said_before_a_frame_is_decoded(clip, capsys, monkeypatch):
    monkeypatch.setattr("vidzip.VideoModel.pack", None)
    for most, says in (("0", "max_new_tokens is 0"), ("4000", "context of 4096")):
        assert chat(monkeypatch, "", str(clip), "--max-new-tokens", most) == 2
        assert says in capsys.readouterr().err


def test_bytes_that_are_no_text_are_refused_alone(pack, capsys, monkeypatch):
    lines = io.TextIOWrapper(io.BytesIO(b"caf\xe9?\nWhere is the star?\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", lines)
    capsys.readouterr()
    assert main(["chat", str(pack)]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "is not valid text" in err


def test_an_input_that_was_closed_holds_no_question(pack, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    capsys.readouterr()
    assert main(["chat", str(pack)]) == 0
    assert capsys.readouterr().out == ""


# The command, on a terminal.


class Terminal:
    """A person at a terminal who talks to the command."""

    def __init__(self, *arguments: str) -> None:
        pty = pytest.importorskip("pty", reason="the system has no terminals")
        self.ours, theirs = pty.openpty()
        # Standard input becomes the terminal of a session of its own, so that Ctrl-C reaches who reads it.
        code = (
            "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "from pipelines.cli import main; sys.exit(main(['chat', *sys.argv[1:]]))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "dumb", "NO_COLOR": "1"},
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.process.kill()
        self.process.wait(timeout=120)
        os.close(self.ours)

    def says(self, line: str, until: str = "you> ") -> list[str]:
        """Type something, and read what is shown until the next prompt: its lines but for empty ones."""
        os.write(self.ours, line.encode())
        shown = b""
        while not shown.endswith(until.encode()):
            if not select.select([self.ours], [], [], 120)[0]:
                raise TimeoutError(shown)
            shown += os.read(self.ours, 1)
        return [line for line in shown.decode().splitlines()[:-1] if line]


def test_a_terminal_is_prompted_until_it_ends(pack):
    with Terminal(str(pack)) as person:
        assert person.says("")[-1] == f"note: 34 frames in 136 tokens; {COMMANDS}"
        question, *answer = person.says("Where is the star?\n")
        assert question == "Where is the star?"
        assert len(answer) == 1
        assert person.says("\n") == []
        person.says("half a line", until="half a line")
        time.sleep(0.5)  # Python does not see a Ctrl-C between showing a letter and waiting for the next
        assert person.says("\x03")[-1] == f"note: {COMMANDS}"
        assert "error: unknown command '/nwe'" in person.says("/nwe\n")
        assert person.says("/new\n") == ["/new", "note: a new conversation"]
        os.write(person.ours, b"\x04")
        assert person.process.wait(timeout=120) == 0


def test_the_prompt_stays_out_of_what_is_kept(pack, capsys, monkeypatch):
    lines = iter(["Where is the star?"])

    def typed(prompt: str = "") -> str:
        assert prompt == ""
        for line in lines:
            return line
        raise EOFError

    monkeypatch.setattr("pipelines.commands.chat.is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", typed)
    capsys.readouterr()
    assert main(["chat", str(pack), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["question"] == "Where is the star?"
    assert err.endswith("ends it\nyou> you> \n")


def test_what_is_typed_is_told_from_what_is_piped(monkeypatch):
    from pipelines.chat import is_interactive

    monkeypatch.setattr(sys, "stdin", None)
    assert not is_interactive()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert not is_interactive()
