"""What methods across frames share: an exact budget, each frame's CLS, how tokens are compared and ranked, merging.

Such a method chooses among patches: it says which stay and, for each other one, which of them it joins, of whatever
frame. Everything is decided in float32 or wider; of equals, the first in order wins. Sums of merged tokens are matrix
products with membership masks, which give the same bits on every run.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.counts import to_device
from vidzip.compress.method import Method, option
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures

MOST_CANDIDATES = 2048
"""Candidates that are compared with each other, at most, unless the budget alone is larger: 16 MiB in float32."""

_AT_ONCE = 2**24
"""Numbers of one intermediate matrix, about: larger ones are worked off in parts."""


class Patches:
    """The patches of F frames, P each, numbered through: patch p of frame f is number ``f * P + p``.

    Attributes:
        num_frames: F.
        per_frame: P, tokens of a frame without CLS.
        count: F times P.
        attention: what CLS attends to each, float32 or wider, (F, P).
    """

    def __init__(self, features: VisionFeatures) -> None:
        self._features = features
        self.num_frames, self.per_frame = features.num_frames, features.num_patches
        self.count = self.num_frames * self.per_frame
        self.scores: Float[Tensor, "frames patches"] = _wide(features.scores)

    def values(self, compare: Literal["hidden", "keys"]) -> Float[Tensor, "frames patches dim"]:
        """What patches are compared by, float32 or wider, (F, P, dim)."""
        return _wide(self._features.patches if compare == "hidden" else self._features.keys)

    def mark(self, numbers: Int[Tensor, " some"]) -> Bool[Tensor, "frames patches"]:
        """Where some patches are, (F, P)."""
        marks = torch.zeros(self.count, dtype=torch.bool, device=numbers.device)
        return marks.scatter(0, numbers, value=True).view(self.num_frames, self.per_frame)

    def firsts(self, order: Int[Tensor, "frames places"], shares: Sequence[int]) -> Int[Tensor, " some"]:
        """Numbers of the first so many of each frame, frame by frame.

        Args:
            order: positions within each frame, in order, (F, n).
            shares: how many of each frame, host integers, (F,).
        """
        frame = [frame for frame, share in enumerate(shares) for _ in range(share)]
        nth = [nth for share in shares for nth in range(share)]
        places = to_device(torch.tensor([frame, nth], dtype=torch.long), order.device)
        return places[0] * self.per_frame + order[places[0], places[1]]

    def by_score(self) -> Int[Tensor, "frames patches"]:
        """Positions within each frame, the one that CLS attends to most first, (F, P)."""
        return self.scores.argsort(dim=1, descending=True, stable=True)

    def numbers(self) -> Int[Tensor, "frames patches"]:
        """Every patch's number, (F, P)."""
        numbers = torch.arange(self.count, device=self.scores.device)
        return numbers.view(self.num_frames, self.per_frame)


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """What becomes of every patch.

    Attributes:
        anchors: numbers of the patches that stay, each once, (kept,).
        ends: the number of the patch that each one ends in, -1 where it is dropped, (F, P); what it says of the
            anchors, which end in themselves, does not matter.
    """

    anchors: Int[Tensor, " kept"]
    ends: Int[Tensor, "frames patches"]


@dataclass(frozen=True, kw_only=True)
class AcrossFrames(Method):
    """A method that keeps ``sum(counts)`` tokens in all, wherever it likes.

    CLS is the model's mark of a new frame. ``keep_cls`` keeps every frame's, which leaves so many tokens fewer for
    patches; where there are more frames than tokens, evenly spread frames keep theirs, and no patch is kept. Without
    it, CLS is kept only where all patches are kept and tokens are left. CLS never merges with anything.

    Kept tokens stand frame by frame in raster order, CLS first. The budget of all tokens keeps them all, unchanged.
    """

    is_across_frames: ClassVar[bool] = True
    keeps_cls: ClassVar[bool] = True

    keep_cls: bool = option(
        default=True, explanation="whether every frame keeps its CLS, the model's mark of a new frame"
    )
    merge: Literal["mean", "sum", "none"] = option(
        "mean",
        "a token that others join is averaged with them (mean), gets their mean added (sum), or they are dropped (none)",
    )
    compare: Literal["hidden", "keys"] = option(
        "hidden", "what similarities are taken of: the tower's output (hidden), or its keys, as VisionZip does (keys)"
    )

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep just so many tokens in all."""
        patches = Patches(features)
        with_cls, count = self._share_out(features, sum(counts))
        merges = 0 < count < patches.count
        with torch.no_grad():
            choice = self._choose(patches, count) if merges else _all_or_none(patches, count)
            kept, source = self._lay_out(choice, with_cls, features.num_cls)
        size, all_tokens = features.tokens_per_frame, features.tokens.flatten(0, 1)
        tokens = all_tokens[kept]
        if merges and self.merge != "none":
            tokens = self._merged(all_tokens, tokens, kept, source)
        frame_of = kept // size
        return ZippedFrames(
            tokens=tokens,
            frame_of=frame_of,
            anchor_of=kept - frame_of * size,
            source=source,
            grids=features.grids,
            has_cls=features.has_cls,
        )

    @abstractmethod
    def _choose(self, patches: Patches, count: int) -> Choice:
        """Choose ``count`` patches, in [1, F * P - 1], and what the others join."""

    def _blend(
        self, anchor: Float[Tensor, "kept dim"], total: Float[Tensor, "kept dim"], count: Int[Tensor, "kept 1"]
    ) -> Float[Tensor, "kept dim"]:
        """What a token becomes that ``count`` others join, one or more, which sum to ``total``."""
        if self.merge == "sum":
            return anchor + total / count
        return (anchor + total) / (count + 1)

    def _most_cls(self, total: int) -> int:
        """CLS tokens that a budget pays for, at most."""
        return total

    def _share_out(self, features: VisionFeatures, total: int) -> tuple[list[int], int]:
        """Numbers of the frames that keep CLS, and how many patches are kept."""
        num_frames = features.num_frames
        wanted = min(num_frames, total, self._most_cls(total)) if features.has_cls and self.keep_cls else 0
        # Tokens that patches cannot use go to CLS tokens, whatever the option says.
        num_cls = max(wanted, total - num_frames * features.num_patches)
        # The middles of as many equal stretches of the video.
        spread = [(2 * i + 1) * num_frames // (2 * num_cls) for i in range(num_cls)]
        return spread, total - num_cls

    def _lay_out(
        self, choice: Choice, with_cls: Sequence[int], num_cls: int
    ) -> tuple[Int[Tensor, " kept"], Int[Tensor, " all"]]:
        """Numbers of the kept tokens among all F * S, ascending, and the kept token that each source token ends in."""
        anchors, ends = choice.anchors, choice.ends
        (num_frames, per_frame), device = ends.shape, ends.device
        size = per_frame + num_cls
        everywhere = torch.full_like(ends, -1) if self.merge == "none" else ends
        ends = everywhere.flatten().scatter(0, anchors, anchors).view_as(ends)

        cls = to_device(torch.tensor([frame * size for frame in with_cls], dtype=torch.long), device)
        kept = torch.cat([cls, _among_tokens(anchors, per_frame, num_cls)]).sort().values
        place = torch.full((num_frames * size,), -1, device=device)
        place = place.scatter(0, kept, torch.arange(len(kept), device=device))
        patch_ends = place[_among_tokens(ends.clamp(min=0), per_frame, num_cls)].where(ends >= 0, -1)
        return kept, torch.cat([place.view(num_frames, size)[:, :num_cls], patch_ends], dim=1).flatten()

    def _merged(
        self,
        hidden: Float[Tensor, "all dim"],
        standing: Float[Tensor, "kept dim"],
        kept: Int[Tensor, " kept"],
        source: Int[Tensor, " all"],
    ) -> Float[Tensor, "kept dim"]:
        """Merge into each kept token what else ended in it; one that nothing joins stays as it is."""
        joins = source.scatter(0, kept, -1)
        # What joins nothing is zeroed, lest an infinity in it, times its zero in the mask, spoil the sums.
        joining = _wide(hidden).masked_fill((joins < 0)[:, None], 0)
        totals, counts = [], []
        for part in parts(len(kept), len(joins)):
            places = torch.arange(part.start, part.stop, device=joins.device)
            members = joins[None, :] == places[:, None]
            totals.append(members.to(joining.dtype) @ joining)
            counts.append(members.sum(dim=1, keepdim=True))
        total, count = torch.cat(totals), torch.cat(counts)
        blended = self._blend(_wide(standing), total, count.clamp(min=1))
        return torch.where(count > 0, blended.to(hidden.dtype), standing)


def in_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Refuse an option's value outside [low, high].

    Raises:
        BadArgument: it is.
    """
    if not low <= value <= high:
        reach = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
        raise BadArgument(f"{name} is {value!r}", hint=f"it takes {reach}")


def num_candidates(multiple: int, count: int, available: int) -> int:
    """How many patches to choose ``count`` from: so many times as many, bounded by what is there and what fits."""
    return min(available, max(count, min(multiple * count, MOST_CANDIDATES)))


def ordered(*keys: Float[Tensor, "*shape"] | Int[Tensor, "*shape"] | Bool[Tensor, "*shape"]) -> Int[Tensor, " all"]:
    """Places in ascending order of the first key, those equal in it by the next, and so on, then by place."""
    order: Tensor | None = None
    for key in reversed(keys):
        flat = key.flatten().to(torch.uint8) if key.dtype == torch.bool else key.flatten()
        order = flat.argsort(stable=True) if order is None else order[flat[order].argsort(stable=True)]
    if order is None:
        raise BadArgument("there is nothing to order by", hint="give a key")
    return order


def proportional(sizes: Int[Tensor, " groups"], total: int) -> Int[Tensor, " groups"]:
    """Share ``total`` among groups by their sizes: no group gets more than its size; all where there are no more.

    The groups up to the i-th get ``floor(B * their sizes / all sizes)`` together, which is exact.
    """
    reached = sizes.cumsum(0)
    all_sizes = reached[-1:]
    ends = reached * all_sizes.clamp(max=total) // all_sizes.clamp(min=1)
    return ends.diff(prepend=ends.new_zeros(1))


def segments(
    frames: Float[Tensor, "frames dim"], least: int, threshold: float
) -> tuple[Int[Tensor, " frames"], Bool[Tensor, " cuts"]]:
    """Cut a video where consecutive frames differ, as FastVID does.

    There is a cut at each of the ``least - 1`` smallest cosine similarities of consecutive frames, and wherever one is
    below ``threshold``.

    Returns:
        The number of each frame's segment, (F,), and whether there is a cut after each frame but the last, (F - 1,).
    """
    unit = F.normalize(frames, dim=-1)
    similarity = (unit[1:] * unit[:-1]).sum(-1)
    is_cut = (similarity.argsort(stable=True).argsort() < least - 1) | (similarity < threshold)
    return F.pad(is_cut.cumsum(0), (1, 0)), is_cut


def density_peaks(
    values: Float[Tensor, "groups patches dim"], is_there: Bool[Tensor, "groups patches"], neighbours: int
) -> Float[Tensor, "groups patches"]:
    """Score how well each point stands for those around it in its group: the logarithm of density times distance.

    Density peaks with k nearest neighbours: rho_i = exp(-mean of the k nearest squared distances / dim), the point
    itself among the k, as in FastVID's and HoliTom's code; delta_i = the distance to the nearest denser one, or the
    group's greatest for the densest; the score is log(rho_i * delta_i). Of equals, the first counts as denser; the
    published code adds noise. In logarithms, no density is rounded to 0.

    Args:
        values: of G groups of n points, (G, n, dim).
        is_there: which of them count, (G, n).
        neighbours: k.

    Returns:
        Scores, (G, n); -inf for points that do not count, and those only.
    """
    num_groups, size, _ = values.shape
    scores = [
        _density_peaks(values[part], is_there[part], min(neighbours, size)) for part in parts(num_groups, size * size)
    ]
    return torch.cat(scores)


def _density_peaks(
    values: Float[Tensor, "groups patches dim"], is_there: Bool[Tensor, "groups patches"], neighbours: int
) -> Float[Tensor, "groups patches"]:
    centred = values - values.mean(dim=1, keepdim=True)  # distances are differences: keep them of what differs
    squares = centred.square().sum(-1)
    distance = torch.baddbmm(squares[:, :, None] + squares[:, None, :], centred, centred.transpose(1, 2), alpha=-2)
    distance = distance.clamp_(min=0) / values.shape[-1]
    distance.diagonal(dim1=1, dim2=2).zero_()
    distance = distance.masked_fill(~is_there[:, None, :], torch.inf)

    nearest = distance.topk(neighbours, dim=-1, largest=False).values
    found = nearest.isfinite()
    log_density = -nearest.where(found, 0).sum(-1) / found.sum(-1).clamp(min=1)
    place = torch.arange(values.shape[1], device=values.device)
    one, other = log_density[:, :, None], log_density[:, None, :]
    is_denser = (other > one) | ((other == one) & (place[None, :] < place[:, None]))
    is_denser &= is_there[:, None, :]
    pairs = is_there[:, :, None] & is_there[:, None, :]
    greatest = distance.where(pairs, 0).amax(dim=(1, 2))[:, None]
    gap = distance.where(is_denser, torch.inf).amin(dim=-1)
    gap = torch.where(gap.isfinite(), gap, greatest)
    score = (log_density + gap.log() / 2).clamp(min=torch.finfo(values.dtype).min)  # a copy's gap is 0
    return score.masked_fill(~is_there, -torch.inf)


def most_similar(
    unit: Float[Tensor, "frames patches dim"],
    targets: Int[Tensor, " targets"],
    may_join: Bool[Tensor, "frames targets"] | None = None,
) -> Int[Tensor, "frames patches"]:
    """For each patch, the number of the target of the greatest cosine similarity, -1 where there is none, (F, P).

    It costs F * P * targets * dim multiplications; memory is bounded.

    Args:
        unit: what is compared, of length 1, (F, P, dim).
        targets: numbers of patches, (targets,).
        may_join: which targets the patches of a frame may join; all where left out, (F, targets).
    """
    num_frames, per_frame, _ = unit.shape
    if len(targets) == 0:
        return targets.new_full((num_frames, per_frame), -1)
    unit_targets = unit.flatten(0, 1)[targets]
    ends = []
    for part in parts(num_frames, per_frame * len(targets)):
        similarity = unit[part] @ unit_targets.T
        if may_join is not None:
            similarity = similarity.masked_fill(~may_join[part][:, None, :], -torch.inf)
        greatest, place = similarity.max(dim=-1)
        ends.append(targets[place].where(greatest > -torch.inf, -1))
    return torch.cat(ends)


def parts(length: int, width: int) -> Iterator[slice]:
    """Cut rows of ``width`` numbers each into parts that fit into memory; one part where there are no rows."""
    step = max(1, _AT_ONCE // max(1, width))
    for start in range(0, max(1, length), step):
        yield slice(start, min(start + step, length))


def _wide(values: Tensor) -> Tensor:
    """Widen to float32 at least: what is compared and averaged in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _all_or_none(patches: Patches, count: int) -> Choice:
    numbers = patches.numbers()
    return Choice(anchors=numbers.flatten()[:count], ends=torch.full_like(numbers, -1))


def _among_tokens(numbers: Tensor, per_frame: int, num_cls: int) -> Tensor:
    """Turn numbers among all patches into numbers among all source tokens."""
    return numbers + (numbers // per_frame + 1) * num_cls
