from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from pipelines.terminal import printable, progress_bar

VIDZIP = Path(sys.executable).parent / "vidzip"


def test_a_pipe_shows_no_progress(capsys):
    with progress_bar() as show:
        show("encode", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_the_stage(clip):
    ours, theirs = pty.openpty()
    command = [VIDZIP, "ask", str(clip), "What?", "--frames", "34", "--max-new-tokens", "2", "--json"]
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 120)[0]:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    assert process.wait(timeout=120) == 0
    assert process.stdout is not None
    assert process.stdout.read().startswith(b"{")
    process.stdout.close()
    os.close(ours)
    assert b"load tiny" in shown or b"encode" in shown


def test_control_characters_are_escaped():
    assert printable("a\x1b[31mb\x00\udcff\n\tc") == "a\\x1b[31mb\\x00\\udcff\n\tc"
    assert printable("何が見えますか 🎬") == "何が見えますか 🎬"
