"""Decode damaged files: each must give frames or a VidzipError, within limits of time and memory.

    python tests/fuzz/fuzz_decoding.py --files 2000 --seed 0
    python tests/fuzz/fuzz_decoding.py --seed 0 --only 123 --keep /tmp/failures

Generated files are damaged, and the real ones in the folder VIDZIP_TEST_DATA. A failure is another error, a process
that dies or hangs, or one that takes too much memory.
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

import mutants  # noqa: E402 - it is beside this script

_TIME_LIMIT_SECONDS = 20.0
_KILLED_AFTER_SECONDS = 60.0
_MAX_BYTES = 3 << 30
"""Decoding a frame of the largest size takes some 20 bytes per pixel."""
_MAX_ADDRESS_SPACE = 12 << 30
"""Limit on the address space of a worker, so that no file uses up the machine's memory."""

_FAILED = "FAILED: "
_INDENT = "\n    "


def main() -> int:
    """Damage and decode; return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="number of files (2000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    parser.add_argument("--only", type=int, help="the number of a single file")
    parser.add_argument("--sources", choices=("all", "generated", "real"), default="all", help="files to damage (all)")
    parser.add_argument("--keep", type=Path, help="a folder for files that fail; with --only, for the file in any case")
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
            start = time.monotonic()
            outcome = worker.decode(path)
            slowest = max(slowest, (time.monotonic() - start, number))
            outcomes[outcome.partition(_INDENT)[0]] += 1
            if args.only is not None:
                _print(f"{mutant.description}\n{outcome}")
            if outcome.startswith(_FAILED):
                repeat = f"--seed {args.seed} --sources {args.sources} --only {number}"
                failures.append(f"{repeat}{_INDENT}{mutant.description}{_INDENT}{outcome}")
                _print(failures[-1])
            if args.keep and (outcome.startswith(_FAILED) or args.only is not None):
                args.keep.mkdir(parents=True, exist_ok=True)
                (args.keep / path.name).write_bytes(mutant.content)
            path.unlink()
    worker.close()
    for outcome, count in outcomes.most_common():
        _print(f"{count:6} {outcome}")
    _print(
        f"{outcomes.total()} files of {len(sources)} sources; {len(failures)} failed; "
        f"the slowest, {slowest[1]}, took {slowest[0]:.1f} s"
    )
    return 1 if failures else 0


def _print(lines: str) -> None:
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
    """A process that decodes files; it is restarted if it dies."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, end = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(end,), daemon=True)
        self._process.start()
        end.close()
        self._pipe.recv()  # its imports are done

    def decode(self, path: Path) -> str:
        """Decode a file and return the outcome as text."""
        self._pipe.send(path)
        outcome, peak = f"{_FAILED}no result after {_KILLED_AFTER_SECONDS:g} s", None
        try:
            if self._pipe.poll(_KILLED_AFTER_SECONDS):
                outcome, peak = self._pipe.recv()
        except EOFError:
            self._process.join()
            outcome = f"{_FAILED}the process died with {self._process.exitcode}"
        if peak is not None and peak <= _MAX_BYTES:
            return outcome
        self.close()
        self._start()
        return outcome if peak is None else f"{_FAILED}too much memory{_INDENT}{peak >> 20} MiB, then {outcome}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection) -> None:
    import vidzip.video.decoding  # noqa: F401 - imported before time is measured

    resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE, _MAX_ADDRESS_SPACE))
    pipe.send("ready")
    while True:
        path = pipe.recv()
        outcome = _decode(path)
        pipe.send((outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10))


def _decode(path: Path) -> str:
    import traceback

    from vidzip import VidzipError, decode, probe, sample

    try:
        timestamps = sample(probe(path), 8)
        frames = decode(path, timestamps, size=32, time_limit_seconds=_TIME_LIMIT_SECONDS)
    except VidzipError as error:
        return type(error).__name__ if error.hint else f"{_FAILED}no hint{_INDENT}{error!r}"
    except Exception as error:
        trace = "".join(traceback.format_exception(error)).rstrip().replace("\n", _INDENT)
        return f"{_FAILED}{type(error).__name__}{_INDENT}{trace}"
    if frames.pixels.shape[:2] != (len(timestamps), 3) or list(frames.timestamps_seconds) != sorted(
        frames.timestamps_seconds
    ):
        return f"{_FAILED}out of order{_INDENT}{frames.pixels.shape} at {frames.timestamps_seconds} for {timestamps}"
    return "frames, with a warning" if frames.warnings else "frames"


if __name__ == "__main__":
    sys.exit(main())
