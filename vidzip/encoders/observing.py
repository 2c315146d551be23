"""Watch one encoder layer of a vision tower through forward hooks, without changing the tower.

The published VisionZip asks the tower for all its attention maps, which forces eager attention in every layer. One
CLS row of one layer is enough: it is computed here from that layer's queries and keys, while the tower itself runs
with whatever attention it was loaded with.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vidzip.errors import BadArgument
from vidzip.features import FrameFeatures


def observe(tower: nn.Module, pixel_values: Float[Tensor, "frames 3 height width"], layer: int = -2) -> FrameFeatures:
    """Run a tower on frames and return what one of its encoder layers computed, without gradients.

    Any number of threads may observe, or call, the same tower at once, and a call may happen inside another: each
    sees its own frames only.

    Args:
        tower: a transformers ``CLIPVisionModel``, or a module built like one; its attention may be SDPA.
        pixel_values: preprocessed frames, (F, 3, height, width), on the tower's device and in its dtype.
        layer: index into the tower's encoder layers; negative from the end. -2 is the layer whose output LLaVA
            models and VisionZip use.

    Returns:
        hidden (F, S, D) in the tower's dtype; keys (F, S, head_dim) and attention (F, S) in float32 or wider.

    Raises:
        BadArgument: the tower has no such layer, or is not built like CLIP's.
    """
    with torch.no_grad(), tap(tower, layer) as seen:
        tower(pixel_values)
    return seen.features()


@contextmanager
def tap(tower: nn.Module, layer: int = -2) -> Iterator[Observation]:
    """Observe what this thread's calls of ``tower`` compute in one layer, until the block ends.

    Yields:
        The observation; after a call, ``.features()`` holds that call's. Calls by other threads, and calls that
        happen inside a call, are passed over.

    Raises:
        BadArgument: the tower has no such layer, or is not built like CLIP's.
    """
    encoder_layer = _encoder_layer(tower, layer)
    attention = encoder_layer.get_submodule("self_attn")
    seen = Observation(num_heads=_number(attention, "num_heads"), scale=_number(attention, "scale"))
    with ExitStack() as hooks:
        for handle in seen.attach(tower, encoder_layer, attention):
            hooks.callback(handle.remove)
        yield seen


class Observation:
    """What one layer computed in the last call of the tower by the thread that made this object."""

    def __init__(self, *, num_heads: float, scale: float) -> None:
        self._num_heads = int(num_heads)
        self._scale = scale
        self._thread = threading.get_ident()
        self._depth = 0
        self._cls_query: Tensor | None = None
        self._key: Tensor | None = None
        self._hidden: Tensor | None = None

    def attach(self, tower: nn.Module, encoder_layer: nn.Module, attention: nn.Module) -> Iterator[RemovableHandle]:
        """Register the hooks, one by one, so that each can be removed whatever happens to the next."""
        yield tower.register_forward_pre_hook(self._enter_tower)
        yield tower.register_forward_hook(self._leave_tower, always_call=True)
        yield attention.get_submodule("q_proj").register_forward_hook(self._see_queries)
        yield attention.get_submodule("k_proj").register_forward_hook(self._see_keys)
        yield encoder_layer.register_forward_hook(self._see_hidden)

    def features(self) -> FrameFeatures:
        """Return the last call's features.

        Raises:
            BadArgument: the tower was not called, or did not run the layer.
        """
        if self._cls_query is None or self._key is None or self._hidden is None:
            raise BadArgument("the tower did not run the observed layer", hint="call it inside the tap's block")
        wide = torch.promote_types(self._key.dtype, torch.float32)
        frames, size, _ = self._key.shape
        key = self._key.view(frames, size, self._num_heads, -1)
        query = self._cls_query.view(frames, self._num_heads, -1)
        logits = torch.einsum("fhd,fshd->fhs", query.to(wide), key.to(wide)) * self._scale
        return FrameFeatures(
            hidden=self._hidden, keys=key.mean(dim=2, dtype=wide), attention=logits.softmax(dim=-1).sum(dim=1)
        )

    def _is_ours(self) -> bool:
        """Whether the running call is this thread's own, and not one inside another."""
        return threading.get_ident() == self._thread and self._depth == 1

    def _enter_tower(self, module: nn.Module, args: Any) -> None:
        if threading.get_ident() == self._thread:
            self._depth += 1
            if self._depth == 1:
                self._cls_query = self._key = self._hidden = None

    def _leave_tower(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self._depth = max(0, self._depth - 1)

    def _see_queries(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._is_ours():
            self._cls_query = output[:, 0].clone()

    def _see_keys(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._is_ours():
            self._key = output

    def _see_hidden(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._is_ours():
            self._hidden = output[0] if isinstance(output, tuple) else output


def num_layers(tower: nn.Module) -> int:
    """How many encoder layers a tower has.

    Raises:
        BadArgument: it is not built like CLIP's.
    """
    return len(_encoder_layers(tower))


def _encoder_layers(tower: nn.Module) -> nn.ModuleList:
    layers = getattr(getattr(tower, "encoder", None), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise BadArgument(
            f"{type(tower).__name__} has no encoder.layers", hint="give a CLIPVisionModel, or a tower built like one"
        )
    return layers


def _encoder_layer(tower: nn.Module, layer: int) -> nn.Module:
    layers = _encoder_layers(tower)
    if not -len(layers) <= layer < len(layers):
        raise BadArgument(
            f"layer is {layer}, but the tower has {len(layers)} layers",
            hint=f"give {-len(layers)} to {len(layers) - 1}",
        )
    return layers[layer]


def _number(module: nn.Module, name: str) -> float:
    value = getattr(module, name, None)
    if not isinstance(value, int | float):
        raise BadArgument(
            f"{type(module).__name__} has no number called {name}",
            hint="give a CLIPVisionModel, or a tower built like one",
        )
    return value
