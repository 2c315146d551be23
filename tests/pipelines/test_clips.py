from __future__ import annotations

import json

import pytest

from pipelines.cli import main


def test_plan_reports_the_cost_of_clips(clip, capsys):
    assert main(["plan", str(clip), "--frames-per-clip", "8"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "34 frames, 136 of 136 tokens"
    (note,) = err.splitlines()
    assert all(f" {number} " in note for number in (34, 5, 6)), note
    assert main(["plan", str(clip), "--frames-per-clip", "8", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["frames"], planned["frames_per_clip"], planned["encoded_frames"]) == (34, 8, 40)
    assert [f"note: {one}" for one in planned["notes"]] == [note]


@pytest.mark.parametrize("options", [[], ["--frames-per-clip", "1"]])
def test_without_clips_there_is_no_note(clip, capsys, options):
    assert main(["plan", str(clip), *options, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["frames_per_clip"], planned["encoded_frames"], planned["notes"]) == (1, 34, [])


def test_a_clip_of_no_frames(clip, capsys):
    assert main(["plan", str(clip), "--frames-per-clip", "0"]) == 2
    assert "frames_per_clip is 0" in capsys.readouterr().err


def test_clips_get_a_note_when_they_are_encoded(clip, original, tmp_path, capsys, monkeypatch):
    model, pack = ["--model", str(original)], str(tmp_path / "clip.vidzip")
    assert main(["ask", str(clip), "What?", "Where?", "--frames", "6", "--max-new-tokens", "1", *model]) == 0
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert "4, 2 in all" in note
    assert main(["pack", str(clip), "--frames", "6", *model, "-o", pack]) == 0
    assert capsys.readouterr().err == note
    assert main(["ask", pack, "What?", "--max-new-tokens", "1", *model]) == 0
    assert capsys.readouterr().err == ""
