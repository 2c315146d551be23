"""Observe one encoder layer of a vision tower, without changing the tower.

The published VisionZip asks the tower for all its attention maps, which forces eager attention in every layer, and runs
the layers behind the one it looks at. One CLS row of one layer is enough: it is computed here from that layer's queries
and keys, while the tower itself runs with whatever attention it was loaded with, and no further than that layer.
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

_BEHIND = ("post_layernorm",)
"""What a tower runs behind its layers, by the names that transformers gives it."""

_WHOLE_OUTPUTS = ("output_hidden_states", "output_attentions")
"""Settings of a config that keep what every layer makes."""


def observe(tower: nn.Module, pixel_values: Float[Tensor, "frames 3 height width"], layer: int = -2) -> VisionFeatures:
    """Run a tower on frames and return what one of its encoder layers computed, without gradients.

    Nothing behind that layer runs, neither later layers nor the post layer norm. The tower is left as it is, and hooks
    that others hung on its modules are called as ever, except on modules that do not run. Any number of threads may
    observe, or call, the same tower at once, and a call may happen inside another: each sees its own frames only.

    Args:
        tower: a transformers ``CLIPVisionModel``, or a module built like one; its attention may be SDPA.
        pixel_values: preprocessed frames, (F, 3, height, width), on the tower's device and in its dtype.
        layer: index into the tower's encoder layers; negative from the end. -2 is the layer whose output LLaVA
            models and VisionZip use.

    Returns:
        Patches and CLS in the tower's dtype; keys and scores in float32 or wider.

    Raises:
        BadArgument: the tower has no such layer, or is not built like CLIP's.
    """
    observed = ObservedTower(tower, layer)
    grid = patch_grid(tower, pixel_values)
    with torch.no_grad():
        return as_features(observed(pixel_values), grid)


Outputs = tuple[
    Float[Tensor, "frames tokens dim"], Float[Tensor, "frames tokens head_dim"], Float[Tensor, "frames tokens"]
]
"""Of a layer: its output, its keys averaged over heads, and the attention that CLS pays, summed over heads; CLS first."""


def as_features(outputs: Outputs, grid: tuple[int, int]) -> VisionFeatures:
    """Separate CLS from the patches in a layer's outputs."""
    hidden, keys, attention = outputs
    return VisionFeatures(patches=hidden[:, 1:], scores=attention[:, 1:], keys=keys[:, 1:], grid=grid, cls=hidden[:, 0])


def patch_grid(tower: nn.Module, pixel_values: Float[Tensor, "frames 3 height width"]) -> tuple[int, int]:
    """Count the rows and columns of patches that a tower divides frames into.

    Raises:
        BadArgument: the tower has no CLS token, or does not make patches by a convolution.
    """
    convolution = _patch_embedding(tower)
    sizes = zip(pixel_values.shape[-2:], convolution.kernel_size, convolution.stride, strict=True)
    rows, columns = ((size - kernel) // stride + 1 for size, kernel, stride in sizes)
    return rows, columns


class ObservedTower(nn.Module):
    """A tower that ends with one of its layers, and returns what that layer computed.

    It is a view: it shares the modules, weights, settings and hooks of the tower, whose modules on the way to the layer
    are copied without what they hold. Making one costs a fraction of a millisecond and no memory to speak of. One view
    serves one call at a time.

    Args:
        tower, layer: as :func:`observe` takes them.

    Raises:
        BadArgument: the tower has no such layer, or is not built like CLIP's.
    """

    def __init__(self, tower: nn.Module, layer: int = -2) -> None:
        super().__init__()
        children = dict(tower.named_children())
        layers, observed = _encoder_layers(tower), _encoder_layer(tower, layer)
        if "encoder" not in children:
            raise BadArgument(
                f"the encoder of this {type(tower).__name__} is not its own", hint="give the tower that it wraps"
            )
        attention = observed.get_submodule("self_attn")
        self._seen = _Seen(attention)
        projections = {
            "q_proj": _view(attention.get_submodule("q_proj"), hook=self._seen.see_queries),
            "k_proj": _view(attention.get_submodule("k_proj"), hook=self._seen.see_keys),
        }
        last = _view(observed, {"self_attn": _view(attention, projections)}, hook=self._seen.see_hidden)
        shortened = nn.ModuleList([*layers[: layer % len(layers)], last])
        behind = {name: nn.Identity() for name in _BEHIND if name in children}
        self._tower = _view(tower, {**behind, "encoder": _view(children["encoder"], {"layers": shortened})})
        self._tower.__dict__.update(_without_whole_outputs(tower))

    def forward(self, pixel_values: Float[Tensor, "frames 3 height width"]) -> Outputs:
        """Run the tower up to the layer.

        Raises:
            BadArgument: the tower's ``forward`` is not its class's own, and runs other modules.
        """
        self._seen.forget()
        self._tower(pixel_values)
        computed = self._seen.computed()
        self._seen.forget()
        if computed is None:
            raise BadArgument(
                "the tower did not run the observed layer",
                hint="its forward may be bound to other modules; tap observes such a tower, and runs all of it",
            )
        return computed


class _Seen:
    """What one layer computes, as hooks on it and on its projections see it."""

    def __init__(self, attention: nn.Module) -> None:
        self._num_heads, self._scale = int(_number(attention, "num_heads")), _number(attention, "scale")
        self._cls_query: Tensor | None = None
        self._key: Tensor | None = None
        self._hidden: Tensor | None = None

    def forget(self) -> None:
        """Keep nothing of what was seen."""
        self._cls_query = self._key = self._hidden = None

    def computed(self) -> Outputs | None:
        """Return the layer's outputs; None if it did not run."""
        if self._cls_query is None or self._key is None or self._hidden is None:
            return None
        wide = torch.promote_types(self._key.dtype, torch.float32)
        frames, size, _ = self._key.shape
        key = self._key.view(frames, size, self._num_heads, -1)
        query = self._cls_query.view(frames, self._num_heads, -1)
        logits = torch.einsum("fhd,fshd->fhs", query.to(wide), key.to(wide)) * self._scale
        return self._hidden, key.mean(dim=2, dtype=wide), logits.softmax(dim=-1).sum(dim=1)

    def see_queries(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Keep that of CLS."""
        self._cls_query = output[:, 0].clone()

    def see_keys(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Keep them."""
        self._key = output

    def see_hidden(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep what the layer returns."""
        self._hidden = output[0] if isinstance(output, tuple) else output


@contextmanager
def tap(tower: nn.Module, layer: int = -2) -> Iterator[Observation]:
    """Observe what this thread's calls of ``tower`` compute in one layer, until the block ends.

    The calls are the caller's own, and run the whole tower; :func:`observe` runs no more of it than is needed.

    Yields:
        The observation; after a call, ``.features()`` holds that call's. Calls by other threads, and calls that
        happen inside a call, are passed over.

    Raises:
        BadArgument: the tower has no such layer, or is not built like CLIP's.
    """
    encoder_layer = _encoder_layer(tower, layer)
    attention = encoder_layer.get_submodule("self_attn")
    _patch_embedding(tower)
    seen = Observation(attention)
    with ExitStack() as hooks:
        for handle in seen.attach(tower, encoder_layer, attention):
            hooks.callback(handle.remove)
        yield seen


class Observation(_Seen):
    """What one layer computed in the last call of the tower by the thread that made this object."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__(attention)
        self._thread = threading.get_ident()
        self._depth = 0
        self._grid: tuple[int, int] | None = None

    def attach(self, tower: nn.Module, encoder_layer: nn.Module, attention: nn.Module) -> Iterator[RemovableHandle]:
        """Register the hooks, one by one, so that each can be removed whatever happens to the next."""
        yield tower.register_forward_pre_hook(self._enter_tower, with_kwargs=True)
        yield tower.register_forward_hook(self._leave_tower, always_call=True)
        yield attention.get_submodule("q_proj").register_forward_hook(self._if_ours(self.see_queries))
        yield attention.get_submodule("k_proj").register_forward_hook(self._if_ours(self.see_keys))
        yield encoder_layer.register_forward_hook(self._if_ours(self.see_hidden))

    def features(self) -> VisionFeatures:
        """Return the last call's features.

        Raises:
            BadArgument: the tower was not called, or did not run the layer.
        """
        computed = self.computed()
        if computed is None or self._grid is None:
            raise BadArgument("the tower did not run the observed layer", hint="call it inside the tap's block")
        return as_features(computed, self._grid)

    def _if_ours(self, see: Callable[[nn.Module, Any, Any], None]) -> Callable[[nn.Module, Any, Any], None]:
        """Pass over what is not of this thread's own call, or of one inside another."""

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if threading.get_ident() == self._thread and self._depth == 1:
                see(module, args, output)

        return hook

    def _enter_tower(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        if threading.get_ident() == self._thread:
            self._depth += 1
            if self._depth == 1:
                self.forget()
                self._grid = patch_grid(module, args[0] if args else kwargs["pixel_values"])

    def _leave_tower(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self._depth = max(0, self._depth - 1)


def num_layers(tower: nn.Module) -> int:
    """How many encoder layers a tower has.

    Raises:
        BadArgument: it is not built like CLIP's.
    """
    return len(_encoder_layers(tower))


def _view(
    module: nn.Module,
    changed: Mapping[str, nn.Module] | None = None,
    hook: Callable[[nn.Module, Any, Any], None] | None = None,
) -> Any:
    """Copy a module without what it holds: weights, buffers and hooks are those of the module.

    Args:
        module: what is copied.
        changed: children that the copy has in the place of the module's.
        hook: called when the copy has run, and not when the module has.
    """
    view = copy.copy(module)
    held = view.__dict__
    held["_modules"] = {**module._modules, **(changed or {})}  # noqa: SLF001 - nothing public names what is shared
    for name, value in held.items():
        held[name] = _bound_to(view, module, value)
    if hook is not None:
        for name in ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"):
            held[name] = OrderedDict(held[name])
        view.register_forward_hook(hook)
    return view


def _bound_to(view: nn.Module, module: nn.Module, value: Any) -> Any:
    """Bind to a view what is bound to its module, as accelerate's hooks bind a ``forward`` of their own."""
    if isinstance(value, MethodType) and value.__self__ is module:
        return MethodType(value.__func__, view)
    if isinstance(value, partial) and any(argument is module for argument in value.args):
        arguments = (view if argument is module else argument for argument in value.args)
        return partial(value.func, *arguments, **value.keywords)
    return value


def _without_whole_outputs(tower: nn.Module) -> dict[str, Any]:
    """The config of a tower with nothing kept of every layer: for that, transformers hangs hooks that stay."""
    config = getattr(tower, "config", None)
    asked = [name for name in _WHOLE_OUTPUTS if getattr(config, name, False)]
    if not asked:
        return {}
    changed = copy.copy(config)
    for name in asked:
        setattr(changed, name, False)
    return {"config": changed}


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


def _patch_embedding(tower: nn.Module) -> nn.Conv2d:
    embeddings = getattr(tower, "embeddings", None)
    if getattr(embeddings, "class_embedding", None) is None:
        raise BadArgument(
            f"{type(tower).__name__} has no class embedding, so its first token is a patch and not CLS",
            hint="give a tower with a CLS token, such as a CLIPVisionModel; others are not supported yet",
        )
    convolution = getattr(embeddings, "patch_embedding", None)
    if not isinstance(convolution, nn.Conv2d):
        raise BadArgument(
            f"the patch embedding of {type(tower).__name__} is not a Conv2d",
            hint="give a CLIPVisionModel, or a tower built like one",
        )
    return convolution


def _number(module: nn.Module, name: str) -> float:
    value = getattr(module, name, None)
    if not isinstance(value, int | float):
        raise BadArgument(
            f"{type(module).__name__} has no number called {name}",
            hint="give a CLIPVisionModel, or a tower built like one",
        )
    return value
