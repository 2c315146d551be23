"""README.md and docs/: examples run, links resolve, and command lines name commands and options that exist."""

from __future__ import annotations

import re
import shlex
import shutil
from functools import cache
from pathlib import Path

import click
import pytest

from pipelines.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"(?:vidzip|eval|pipelines|tests|benchmarks|docs)/[\w/.-]*\.(?:py|md|json|png|html|toml)")
IDENTIFIER = re.compile(r"\b(?:[A-Z]\w{3,}|[a-z]+_\w+)\b")
PLACEHOLDERS = {"NAME", "TYPE", "CLASS", "FILES", "DEFAULT"}
MODULE = re.compile(r"python -m (benchmarks[\w.]*)")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall(read(page)) if language in languages]


@cache
def source() -> str:
    files = [file for room in ("vidzip", "eval", "pipelines", "tests") for file in (ROOT / room).rglob("*.py")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def prose(page: str) -> str:
    return BLOCK.sub("", read(page))


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def complete_commands(page: str) -> list[str]:
    """The command lines of console blocks, continuation lines joined, without the part after a pipe."""
    text = "\n".join(blocks(page, "console")).replace("\\\n", " ")
    lines = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    parts = [part.strip() for line in lines for part in re.split(r"\s[|;]\s|;\s|&&", line)]
    return [part for part in parts if part.startswith("vidzip ")]


def mentioned_commands(page: str) -> list[str]:
    """Command lines in the text and in other blocks; their arguments may be placeholders."""
    lines = [line for text in blocks(page, "") for line in text.replace("\\\n", " ").splitlines()]
    spans = [" ".join(span.split()) for span in CODE.findall(prose(page))]
    return [line.partition("  #")[0].strip() for line in (*lines, *spans) if re.match(r"\s*vidzip [a-z]", line)]


def find_command(words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """Find the command of a command line, and the words after it."""
    command: click.Command = cli
    context = click.Context(cli, info_name="vidzip")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, context, words = found, click.Context(found, info_name=words[0], parent=context), words[1:]
    return command, context, words


def leaf_commands(group: click.Group) -> list[click.Command]:
    context = click.Context(group)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    return [leaf for one in commands for leaf in (leaf_commands(one) if isinstance(one, click.Group) else [one])]


@cache
def known_flags() -> set[str]:
    parameters = [parameter for command in leaf_commands(cli) for parameter in command.params]
    return {flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_python_examples_run(page, tmp_path, clip, monkeypatch, capsys):
    shutil.copy(clip, tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    examples = blocks(page, "python")
    assert examples
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, page, "exec"), names)  # noqa: S102 - our own page
    assert capsys.readouterr().out.strip()


def test_readme_is_short_and_names_the_two_commands():
    assert len(read("README.md").splitlines()) <= 250
    text = "\n".join(blocks("README.md", "console")) + prose("README.md")
    assert "make demo" in text
    assert "make test" in text


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_relative_links_resolve(page):
    for link in LINK.findall(read(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page):
    for name in FILE.findall(read(page)):
        assert "NAME" in name or (ROOT / name).exists(), f"{page} names {name}"
    for module in MODULE.findall(read(page)):
        path = ROOT.joinpath(*module.rstrip(".").split("."))
        assert "NAME" in module or path.with_suffix(".py").exists() or path.is_dir(), f"{page} names {module}"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/python.md"])
def test_named_identifiers_exist(page):
    names = {
        name
        for span in CODE.findall(prose(page))
        if not re.search(r"/|\.py", span)
        for name in IDENTIFIER.findall(span)
    }
    missing = {name for name in names - PLACEHOLDERS if not re.search(rf"\b{name}\b", source())}
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_complete_command_lines_parse(page):
    for line in complete_commands(page):
        command, context, words = find_command(shlex.split(line)[1:])
        command.make_context(context.info_name, words, parent=context.parent).close()


@pytest.mark.parametrize("page", PAGES)
def test_mentioned_commands_have_these_options(page):
    for line in mentioned_commands(page):
        words = [word for word in re.split(r"\s+", line)[1:] if word not in {"…", "..."}]
        command, _, rest = find_command(words)
        flags = {flag for parameter in command.params for flag in parameter.opts} | {"--help", "-h"}
        for word in rest:
            if re.match(r"--?[a-z]", word):
                assert word.strip("[]") in flags, f"{page}: {line!r} has no option {word}"


@pytest.mark.parametrize("page", ["README.md", "docs/cli.md", "docs/evaluation.md", "docs/report.md"])
def test_mentioned_options_exist(page):
    for span in CODE.findall(prose(page)):
        if flag := re.match(r"--[a-z][a-z-]+", span):
            assert flag[0] in known_flags(), f"{page} names the option {flag[0]}"
