"""A vision tower compiled by torch: its kernels are fused, and on CUDA a whole chunk of frames is one launch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidzip.encoders.observing import ObservedTower, Outputs, as_features, patch_grid
from vidzip.errors import CompilationFailed
from vidzip.features import VisionFeatures


class CompiledTower:
    """A tower, compiled for each layer that it is observed at, when it is first observed there.

    Every number of frames that it is given is compiled anew, so give it one number always. On CUDA it is captured as a
    CUDA graph (torch's mode ``"reduce-overhead"``); elsewhere torch's default mode is taken. Compiling takes a minute
    or so. The tower is left as it is.

    Threads wait for one another. On CUDA, where torch keeps captured graphs for each thread, always call it from the
    same one.

    Args:
        tower: as :func:`vidzip.observe` takes it.
        backend: torch's compiler.
    """

    def __init__(self, tower: nn.Module, backend: str = "inductor") -> None:
        self._tower = tower
        self._backend = backend
        self._graphs: dict[int, Callable[[Tensor], Outputs]] = {}
        self._lock = threading.Lock()

    def observe(self, pixel_values: Float[Tensor, "frames 3 height width"], layer: int = -2) -> VisionFeatures:
        """Do as :func:`vidzip.observe` does, up to rounding.

        Raises:
            CompilationFailed: torch cannot compile the tower here.
            BadArgument: as :func:`vidzip.observe`.
        """
        is_cuda = pixel_values.is_cuda
        with self._lock, torch.no_grad(), _compile_errors():
            if layer not in self._graphs:
                options: dict[str, Any] = {"mode": "reduce-overhead"} if is_cuda else {}
                self._graphs[layer] = torch.compile(
                    _on_its_own(ObservedTower(self._tower, layer).forward),
                    fullgraph=True,
                    dynamic=False,
                    backend=self._backend,
                    **options,
                )
            if is_cuda:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            grid = patch_grid(self._tower, pixel_values)
            made = self._graphs[layer](pixel_values)
            # What a captured graph returns lies where its next run writes.
            hidden, keys, attention = (part.clone() for part in made) if is_cuda else made
        return as_features((hidden, keys, attention), grid)


def _on_its_own(method: Any) -> Any:
    """Copy a method with its code: torch keeps what it compiles with the code, and gives up at the ninth of a kind."""
    function: FunctionType = method.__func__
    copied = FunctionType(function.__code__.replace(), function.__globals__, closure=function.__closure__)
    return MethodType(copied, method.__self__)


@contextmanager
def _compile_errors() -> Iterator[None]:
    """Say that compiling failed, and why, in a line."""
    try:
        yield
    except (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit) as error:  # noqa: SLF001
        cause = getattr(error, "inner_exception", error)
        reason = str(cause).strip().splitlines()
        raise CompilationFailed(
            f"torch cannot compile the vision tower here: {reason[0] if reason else type(cause).__name__}",
            hint="leave compiling out (--compile), or give torch a compiler: a C++ one for a CPU, Triton for CUDA",
        ) from error
