from __future__ import annotations

import os

import pytest

from pipelines.files import alone_in, write_text
from vidzip.errors import WriteError


def test_text_is_written_as_a_whole_file(tmp_path):
    write_text(str(tmp_path / "file"), "früher\n")
    assert (tmp_path / "file").read_bytes() == "früher\n".encode()
    assert os.listdir(tmp_path) == ["file"]


def test_one_run_at_a_time_is_in_a_folder(tmp_path):
    def enter() -> None:
        with alone_in(str(tmp_path)):
            pass

    with alone_in(str(tmp_path)), pytest.raises(WriteError, match="another run is writing into"):
        enter()
    enter()
