from __future__ import annotations

import json

import pytest


@pytest.fixture
def write(tmp_path):
    """Write files into a folder: text and bytes as they are, everything else as JSON; returns the folder."""

    def write(**files):
        for name, content in files.items():
            path = tmp_path / name.replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tmp_path

    return write
