"""A vision tower compiled by torch: kernels are fused, and on CUDA a whole batch of frames is one launch."""

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
    """A tower that is compiled for each observed layer at its first use, which takes about a minute.

    Every new number of frames is compiled again, so always give the same number. On CUDA, torch's mode
    ``"reduce-overhead"`` captures a CUDA graph; elsewhere the mode is the default. The tower is not changed.

    Calls of several threads run one after the other. On CUDA, always call it from the same thread, because torch keeps
    captured graphs per thread.

    Args:
        tower: as in :func:`vidzip.observe`.
        backend: torch's compiler.
    """

    def __init__(self, tower: nn.Module, backend: str = "inductor") -> None:
        self._tower = tower
        self._backend = backend
        self._graphs: dict[int, Callable[[Tensor], Outputs]] = {}
        self._lock = threading.Lock()

    def observe(self, pixel_values: Float[Tensor, "frames 3 height width"], layer: int = -2) -> VisionFeatures:
        """Return what :func:`vidzip.observe` returns, up to rounding.

        Raises:
            CompilationFailed: torch cannot compile the tower here.
            BadArgument: as in :func:`vidzip.observe`.
        """
        is_cuda = pixel_values.is_cuda
        with self._lock, torch.no_grad(), _compile_errors():
            if layer not in self._graphs:
                options: dict[str, Any] = {"mode": "reduce-overhead"} if is_cuda else {}
                self._graphs[layer] = torch.compile(
                    _with_own_code(ObservedTower(self._tower, layer).forward),
                    fullgraph=True,
                    dynamic=False,
                    backend=self._backend,
                    **options,
                )
            if is_cuda:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            grid = patch_grid(self._tower, pixel_values)
            outputs = self._graphs[layer](pixel_values)
            # The next run of a captured graph overwrites its outputs.
            hidden, keys, attention = (part.clone() for part in outputs) if is_cuda else outputs
        return as_features((hidden, keys, attention), grid)


def _with_own_code(method: Any) -> Any:
    """Copy a method with its code: torch attaches compiled variants to the code, and stops compiling after eight."""
    function: FunctionType = method.__func__
    copied = FunctionType(function.__code__.replace(), function.__globals__, closure=function.__closure__)
    return MethodType(copied, method.__self__)


@contextmanager
def _compile_errors() -> Iterator[None]:
    """Turn torch's compilation errors into one of vidzip's, with the reason in one line."""
    try:
        yield
    except (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit) as error:  # noqa: SLF001
        cause = getattr(error, "inner_exception", error)
        reason = str(cause).strip().splitlines()
        raise CompilationFailed(
            f"torch cannot compile the vision tower here: {reason[0] if reason else type(cause).__name__}",
            hint="do not use --compile, or install a compiler for torch: C++ for CPUs, Triton for CUDA",
        ) from error
