"""Decode damaged files: each must give frames or a VidzipError, soon, and in bounded memory.

    python tests/fuzz/fuzz_decoding.py --files 2000 --seed 0
    python tests/fuzz/fuzz_decoding.py --seed 0 --only 123 --keep /tmp/failures

Real files of the folder that VIDZIP_TEST_DATA names are damaged, and generated ones. A failure is an error of another
kind, a process that dies, one that does not come back, or one that takes too much memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path += [str(_TESTS / "fuzz"), str(_TESTS / "support")]  # a safe path lacks the script's own folder

import mutants  # noqa: E402 - it lies beside this script

_TIME_LIMIT_SECONDS = 20.0
_KILLED_AFTER_SECONDS = 60.0
_MOST_BYTES = 3 << 30
"""A picture of the largest size that is decoded takes some 20 bytes a pixel on its way."""
_MACHINE_BYTES = 12 << 30
"""The address space of a worker, so that no file takes the whole machine's memory."""

_FAILED = "FAILED: "
_OUTLINE = "\n    "


def main() -> int:
    """Damage and decode; return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="how many (2000)")
    parser.add_argument("--seed", type=int, default=0, help="what all damage follows from (0)")
    parser.add_argument("--only", type=int, help="the number of a single file")
    parser.add_argument("--sources", choices=("all", "generated", "real"), default="all", help="what is damaged (all)")
    parser.add_argument("--keep", type=Path, help="a folder for the files that fail; all are kept with --only")
    args = parser.parse_args()
    if args.sources == "all" and "VIDZIP_TEST_DATA" not in os.environ:
        args.sources = "generated"
    sources = _sources(args.sources)
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    slowest = (0.0, 0)
    worker = Worker()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.files) if args.only is None else [args.only]:
            mutant = mutants.make(sources, args.seed, number)
            path = Path(folder) / f"{number}{mutant.suffix}"
            path.write_bytes(mutant.content)
            began = time.monotonic()
            outcome = worker.outcome_of(path)
            slowest = max(slowest, (time.monotonic() - began, number))
            outcomes[outcome.partition(_OUTLINE)[0]] += 1
            if args.only is not None:
                _say(f"{mutant.story}\n{outcome}")
            if outcome.startswith(_FAILED):
                repeat = f"--seed {args.seed} --sources {args.sources} --only {number}"
                failures.append(f"{repeat}{_OUTLINE}{mutant.story}{_OUTLINE}{outcome}")
                _say(failures[-1])
            if args.keep and (outcome.startswith(_FAILED) or args.only is not None):
                args.keep.mkdir(parents=True, exist_ok=True)
                (args.keep / path.name).write_bytes(mutant.content)
            path.unlink()
    worker.close()
    for outcome, count in outcomes.most_common():
        _say(f"{count:6} {outcome}")
    _say(
        f"{outcomes.total()} files of {len(sources)} sources; {len(failures)} failed; "
        f"the slowest, {slowest[1]}, took {slowest[0]:.1f} s"
    )
    return 1 if failures else 0


def _say(lines: str) -> None:
    sys.stdout.write(f"{lines}\n")
    sys.stdout.flush()


def _sources(which: str) -> dict[str, bytes]:
    sources = {}
    if which != "generated":
        sources |= mutants.real_sources(Path(os.environ["VIDZIP_TEST_DATA"]) / "videos")
    if which != "real":
        with tempfile.TemporaryDirectory() as folder:
            sources |= mutants.generated_sources(Path(folder))
    return sources


class Worker:
    """A process that decodes file after file; another takes over where it dies."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, end = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(end,), daemon=True)
        self._process.start()
        end.close()
        self._pipe.recv()  # it has imported everything

    def outcome_of(self, path: Path) -> str:
        """Say in words what becomes of a file."""
        self._pipe.send(path)
        outcome, peak = f"{_FAILED}no end after {_KILLED_AFTER_SECONDS:g} s", None
        try:
            if self._pipe.poll(_KILLED_AFTER_SECONDS):
                outcome, peak = self._pipe.recv()
        except EOFError:
            self._process.join()
            outcome = f"{_FAILED}the process died with {self._process.exitcode}"
        if peak is not None and peak <= _MOST_BYTES:
            return outcome
        self.close()
        self._start()
        return outcome if peak is None else f"{_FAILED}too much memory{_OUTLINE}{peak >> 20} MiB, then {outcome}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection) -> None:
    import vidzip.video.decoding  # noqa: F401 - loaded before the clock runs

    resource.setrlimit(resource.RLIMIT_AS, (_MACHINE_BYTES, _MACHINE_BYTES))
    pipe.send("ready")
    while True:
        path = pipe.recv()
        outcome = _decode(path)
        pipe.send((outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10))


def _decode(path: Path) -> str:
    import traceback

    from vidzip import VidzipError, decode, probe, sample

    try:
        moments = sample(probe(path), 8)
        frames = decode(path, moments, size=32, time_limit_seconds=_TIME_LIMIT_SECONDS)
    except VidzipError as error:
        return type(error).__name__ if error.hint else f"{_FAILED}no hint{_OUTLINE}{error!r}"
    except Exception as error:
        trace = "".join(traceback.format_exception(error)).rstrip().replace("\n", _OUTLINE)
        return f"{_FAILED}{type(error).__name__}{_OUTLINE}{trace}"
    if frames.pixels.shape[:2] != (len(moments), 3) or list(frames.timestamps_seconds) != sorted(
        frames.timestamps_seconds
    ):
        return f"{_FAILED}out of order{_OUTLINE}{frames.pixels.shape} at {frames.timestamps_seconds} for {moments}"
    return "frames, with a warning" if frames.warnings else "frames"


if __name__ == "__main__":
    sys.exit(main())
