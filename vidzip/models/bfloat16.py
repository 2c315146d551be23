"""Measure whether this CPU computes faster in bfloat16 than in float32. As a script, print the speed-up.

A CPU may support bfloat16 and still be slower in it, because it converts at every step or its instructions have half the
throughput. CPU flags do not show this, so a matrix product is timed in both precisions.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache

import torch

MIN_SPEED_UP = 1.4
"""Speed-up over float32 from which bfloat16 is worth using; half the bytes allow at most 2."""

_ROWS, _INNER, _OUTER = 2 * 257, 1024, 4096
"""Shape of the product: two frames' tokens times the first matrix of a ViT-L/14 MLP."""

_ROUNDS = 5
_TIME_LIMIT_SECONDS = 60


def speed_up() -> float:
    """Return the speed-up of a matrix product in bfloat16 over float32: the best of a few interleaved runs of each."""
    shapes = ((_ROWS, _INNER), (_OUTER, _INNER))
    best = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    operands = {dtype: [torch.ones(shape, dtype=dtype) for shape in shapes] for dtype in best}
    with torch.no_grad():
        for _ in range(_ROUNDS):
            for dtype, (inputs, weight) in operands.items():
                began = time.perf_counter()
                torch.nn.functional.linear(inputs, weight)
                best[dtype] = min(best[dtype], time.perf_counter() - began)
    return best[torch.float32] / best[torch.bfloat16]


def speed_up_in_subprocess() -> float:
    """Measure :func:`speed_up` in a new process with as many threads as this one; return 0 if it crashes.

    Some virtual machines announce bfloat16 instructions and crash the process that uses them.
    """
    command = [sys.executable, "-P", __file__, str(torch.get_num_threads())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_SECONDS, check=True)  # noqa: S603 - our own file
        return float(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0.0


@cache
def is_bfloat16_fast(measure: Callable[[], float] = speed_up_in_subprocess) -> bool:
    """Whether bfloat16 is clearly faster than float32 on this machine; measured once, in a few seconds."""
    return measure() >= MIN_SPEED_UP


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    sys.stdout.write(f"{speed_up():.3f}\n")
