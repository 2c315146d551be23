"""Whether this machine's CPU is good at bfloat16, found out by trying. Run as a program, it prints what it measures.

A CPU may take bfloat16 and be slower at it than at float32: where it converts at every step, and where its instructions
for it have half the throughput. Names of instructions do not tell, so a product is timed in both.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache

import torch

LEAST_SPEED_UP = 1.4
"""How much faster than float32 counts as good: between no gain and the factor of two that half the bytes give."""

_ROWS, _INNER, _OUTER = 2 * 257, 1024, 4096
"""Two frames' tokens through the first half of an MLP of ViT-L/14."""

_ROUNDS = 5
_TIME_LIMIT_SECONDS = 60


def speed_up() -> float:
    """How many times as fast as in float32 a product is in bfloat16: the best of a few of each, taken in turn."""
    shapes = ((_ROWS, _INNER), (_OUTER, _INNER))
    best = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    operands = {dtype: [torch.ones(shape, dtype=dtype) for shape in shapes] for dtype in best}
    with torch.no_grad():
        for _ in range(_ROUNDS):
            for dtype, (given, weight) in operands.items():
                began = time.perf_counter()
                torch.nn.functional.linear(given, weight)
                best[dtype] = min(best[dtype], time.perf_counter() - began)
    return best[torch.float32] / best[torch.bfloat16]


def speed_up_apart() -> float:
    """Measure :func:`speed_up` in a process of its own, with as many threads as this one computes with.

    Some virtual machines announce instructions for bfloat16 and fault on them, which ends the process that tries.

    Returns:
        The ratio; 0 where the process does not live to tell it.
    """
    command = [sys.executable, "-P", __file__, str(torch.get_num_threads())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_SECONDS, check=True)  # noqa: S603 - our own file
        return float(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0.0


@cache
def is_good_at_bfloat16(measure: Callable[[], float] = speed_up_apart) -> bool:
    """Whether computing in bfloat16 is clearly faster here than in float32; measured once, in a few seconds."""
    return measure() >= LEAST_SPEED_UP


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    sys.stdout.write(f"{speed_up():.3f}\n")
