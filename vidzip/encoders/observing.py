"""Observe one encoder layer of a vision tower, without changing the tower.

The published VisionZip asks the tower for all attention maps, which forces eager attention in every layer, and runs the
layers after the one it uses. One CLS row of one layer is enough: it is computed here from that layer's queries and keys,
while the tower runs with the attention it was loaded with, and only up to that layer.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures

_AFTER_ENCODER = ("post_layernorm",)
"""Modules that a tower runs after its layers, by their names in transformers."""

_OUTPUT_SETTINGS = ("output_hidden_states", "output_attentions")
"""Settings of a config that keep the output of every layer."""

Outputs = tuple[
    Float[Tensor, "frames tokens dim"], Float[Tensor, "frames tokens head_dim"], Float[Tensor, "frames tokens"]
]
"""Of a layer: its output, its keys averaged over heads, and the attention that CLS pays, summed over heads; CLS first."""


def observe(tower: nn.Module, pixel_values: Float[Tensor, "frames 3 height width"], layer: int = -2) -> VisionFeatures:
    """Run a tower on frames and return the features of one of its encoder layers, without gradients.

    Nothing after that layer runs, neither later layers nor the post layer norm. The tower is not changed, and hooks that
    others registered on its modules are called, except on modules that do not run. Any number of threads may observe or
    call the same tower at once, and a call may happen inside another: each gets its own frames only.

    Args:
        tower: a transformers ``CLIPVisionModel``, or a module built like one; its attention may be SDPA.
        pixel_values: preprocessed frames, (F, 3, height, width), on the tower's device and in its dtype.
        layer: index of the encoder layer; negative from the end. LLaVA models and VisionZip use the output of -2.

    Returns:
        Patches and CLS in the tower's dtype; keys and scores in float32 or wider.

    Raises:
        BadArgument: the tower has no such layer or no CLS token, or is not built like CLIP's.
    """
    observed = ObservedTower(tower, layer)
    grid = patch_grid(tower, pixel_values)
    with torch.no_grad():
        return as_features(observed(pixel_values), grid)


def as_features(outputs: Outputs, grid: tuple[int, int]) -> VisionFeatures:
    """Separate CLS from the patches in a layer's outputs."""
    hidden, keys, attention = outputs
    return VisionFeatures(patches=hidden[:, 1:], scores=attention[:, 1:], keys=keys[:, 1:], grid=grid, cls=hidden[:, 0])


def patch_grid(tower: nn.Module, pixel_values: Float[Tensor, "frames 3 height width"]) -> tuple[int, int]:
    """Return the rows and columns of patches that a tower divides frames into.

    Raises:
        BadArgument: the tower has no CLS token, or does not make patches by a convolution.
    """
    convolution = _patch_embedding(tower)
    sizes = zip(pixel_values.shape[-2:], convolution.kernel_size, convolution.stride, strict=True)
    rows, columns = ((size - kernel) // stride + 1 for size, kernel, stride in sizes)
    return rows, columns


class ObservedTower(nn.Module):
    """A view of a tower that ends with one of its layers and returns that layer's outputs.

    It shares the tower's modules, weights, settings and hooks; only modules on the path to the layer are copied, without
    their contents. Making one takes a fraction of a millisecond and almost no memory. Use one view in one call at a time.

    Args:
        tower, layer: as in :func:`observe`.

    Raises:
        BadArgument: the tower has no such layer, or is not built like CLIP's.
    """

    def __init__(self, tower: nn.Module, layer: int = -2) -> None:
        super().__init__()
        children = dict(tower.named_children())
        layers, observed = _encoder_layers(tower), _encoder_layer(tower, layer)
        if "encoder" not in children:
            raise BadArgument(
                f"the encoder of this {type(tower).__name__} belongs to another module", hint="give the wrapped tower"
            )
        attention = observed.get_submodule("self_attn")
        self._recorder = _Recorder(attention)
        projections = {
            "q_proj": _view(attention.get_submodule("q_proj"), hook=self._recorder.record_queries),
            "k_proj": _view(attention.get_submodule("k_proj"), hook=self._recorder.record_keys),
        }
        last = _view(observed, {"self_attn": _view(attention, projections)}, hook=self._recorder.record_output)
        shortened = nn.ModuleList([*layers[: layer % len(layers)], last])
        skipped = {name: nn.Identity() for name in _AFTER_ENCODER if name in children}
        self._tower = _view(tower, {**skipped, "encoder": _view(children["encoder"], {"layers": shortened})})
        self._tower.__dict__.update(_config_without_outputs(tower))

    def forward(self, pixel_values: Float[Tensor, "frames 3 height width"]) -> Outputs:
        """Run the tower up to the layer.

        Raises:
            BadArgument: the tower's ``forward`` was replaced, and runs other modules.
        """
        self._recorder.clear()
        self._tower(pixel_values)
        outputs = self._recorder.outputs()
        self._recorder.clear()
        if outputs is None:
            raise BadArgument(
                "the tower did not run the observed layer",
                hint="if its forward is bound to other modules, use tap, which runs the whole tower",
            )
        return outputs


class _Recorder:
    """What hooks record of one layer and its projections."""

    def __init__(self, attention: nn.Module) -> None:
        self._num_heads, self._scale = int(_number(attention, "num_heads")), _number(attention, "scale")
        self._cls_query: Tensor | None = None
        self._key: Tensor | None = None
        self._hidden: Tensor | None = None

    def clear(self) -> None:
        """Delete what was recorded."""
        self._cls_query = self._key = self._hidden = None

    def outputs(self) -> Outputs | None:
        """Compute the layer's outputs; None if it did not run."""
        if self._cls_query is None or self._key is None or self._hidden is None:
            return None
        wide = torch.promote_types(self._key.dtype, torch.float32)
        frames, size, _ = self._key.shape
        key = self._key.view(frames, size, self._num_heads, -1)
        query = self._cls_query.view(frames, self._num_heads, -1)
        logits = torch.einsum("fhd,fshd->fhs", query.to(wide), key.to(wide)) * self._scale
        return self._hidden, key.mean(dim=2, dtype=wide), logits.softmax(dim=-1).sum(dim=1)

    def record_queries(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Record the query of CLS."""
        self._cls_query = output[:, 0].clone()

    def record_keys(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Record the keys."""
        self._key = output

    def record_output(self, module: nn.Module, args: Any, output: Any) -> None:
        """Record the layer's output."""
        self._hidden = output[0] if isinstance(output, tuple) else output


@contextmanager
def tap(tower: nn.Module, layer: int = -2) -> Iterator[Observation]:
    """Observe one layer in this thread's calls of ``tower``, until the block ends.

    The calls run the whole tower; :func:`observe` runs only what is needed.

    Yields:
        The observation, whose ``.features()`` are those of the last call. Calls by other threads, and calls inside a
        call, are ignored.

    Raises:
        BadArgument: the tower has no such layer or no CLS token, or is not built like CLIP's.
    """
    encoder_layer = _encoder_layer(tower, layer)
    attention = encoder_layer.get_submodule("self_attn")
    _patch_embedding(tower)
    observation = Observation(attention)
    with ExitStack() as hooks:
        for handle in observation.register(tower, encoder_layer, attention):
            hooks.callback(handle.remove)
        yield observation


class Observation(_Recorder):
    """What one layer computed in the last call of the tower by the thread that made this object."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__(attention)
        self._thread = threading.get_ident()
        self._depth = 0
        self._grid: tuple[int, int] | None = None

    def register(self, tower: nn.Module, encoder_layer: nn.Module, attention: nn.Module) -> Iterator[RemovableHandle]:
        """Register the hooks one by one, so that each can be removed if the next fails."""
        yield tower.register_forward_pre_hook(self._enter_tower, with_kwargs=True)
        yield tower.register_forward_hook(self._leave_tower, always_call=True)
        yield attention.get_submodule("q_proj").register_forward_hook(self._in_own_call(self.record_queries))
        yield attention.get_submodule("k_proj").register_forward_hook(self._in_own_call(self.record_keys))
        yield encoder_layer.register_forward_hook(self._in_own_call(self.record_output))

    def features(self) -> VisionFeatures:
        """Return the last call's features.

        Raises:
            BadArgument: the tower was not called, or did not run the layer.
        """
        outputs = self.outputs()
        if outputs is None or self._grid is None:
            raise BadArgument("the tower did not run the observed layer", hint="call it inside the tap's block")
        return as_features(outputs, self._grid)

    def _in_own_call(self, record: Callable[[nn.Module, Any, Any], None]) -> Callable[[nn.Module, Any, Any], None]:
        """Make a hook that records only outermost calls of this thread."""

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if threading.get_ident() == self._thread and self._depth == 1:
                record(module, args, output)

        return hook

    def _enter_tower(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        if threading.get_ident() == self._thread:
            self._depth += 1
            if self._depth == 1:
                self.clear()
                self._grid = patch_grid(module, args[0] if args else kwargs["pixel_values"])

    def _leave_tower(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self._depth = max(0, self._depth - 1)


def _view(
    module: nn.Module,
    children: Mapping[str, nn.Module] | None = None,
    hook: Callable[[nn.Module, Any, Any], None] | None = None,
) -> Any:
    """Copy a module without its contents: weights, buffers and hooks are shared with the module.

    Args:
        module: the module to copy.
        children: children of the copy that replace those of the module.
        hook: called after the copy has run, and not after the module has.
    """
    view = copy.copy(module)
    held = view.__dict__
    held["_modules"] = {**module._modules, **(children or {})}  # noqa: SLF001 - there is no public way to share modules
    for name, value in held.items():
        held[name] = _rebind(view, module, value)
    if hook is not None:
        for name in ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"):
            held[name] = OrderedDict(held[name])
        view.register_forward_hook(hook)
    return view


def _rebind(view: nn.Module, module: nn.Module, value: Any) -> Any:
    """Bind to a view what is bound to its module, such as the ``forward`` that accelerate's hooks install."""
    if isinstance(value, MethodType) and value.__self__ is module:
        return MethodType(value.__func__, view)
    if isinstance(value, partial) and any(argument is module for argument in value.args):
        arguments = (view if argument is module else argument for argument in value.args)
        return partial(value.func, *arguments, **value.keywords)
    return value


def _config_without_outputs(tower: nn.Module) -> dict[str, Any]:
    """Copy a tower's config without settings that keep every layer's output: transformers leaves hooks for those."""
    config = getattr(tower, "config", None)
    settings = [name for name in _OUTPUT_SETTINGS if getattr(config, name, False)]
    if not settings:
        return {}
    changed = copy.copy(config)
    for name in settings:
        setattr(changed, name, False)
    return {"config": changed}


def _encoder_layers(tower: nn.Module) -> nn.ModuleList:
    layers = getattr(getattr(tower, "encoder", None), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise _unlike_clip(f"{type(tower).__name__} has no encoder.layers")
    return layers


def _encoder_layer(tower: nn.Module, layer: int) -> nn.Module:
    layers = _encoder_layers(tower)
    if not -len(layers) <= layer < len(layers):
        raise BadArgument(
            f"layer is {layer}, but the tower has {len(layers)} layers",
            hint=f"give {-len(layers)} to {len(layers) - 1}",
        )
    return layers[layer]


def _patch_embedding(tower: nn.Module) -> nn.Conv2d:
    embeddings = getattr(tower, "embeddings", None)
    if getattr(embeddings, "class_embedding", None) is None:
        raise BadArgument(
            f"{type(tower).__name__} has no class embedding, so its first token is a patch and not CLS",
            hint="give a tower with a CLS token, such as a CLIPVisionModel; others are not supported yet",
        )
    convolution = getattr(embeddings, "patch_embedding", None)
    if not isinstance(convolution, nn.Conv2d):
        raise _unlike_clip(f"the patch embedding of {type(tower).__name__} is not a Conv2d")
    return convolution


def _number(module: nn.Module, name: str) -> float:
    value = getattr(module, name, None)
    if not isinstance(value, int | float):
        raise _unlike_clip(f"{type(module).__name__} has no number {name}")
    return value


def _unlike_clip(problem: str) -> BadArgument:
    return BadArgument(problem, hint="give a CLIPVisionModel, or a tower built like one")
