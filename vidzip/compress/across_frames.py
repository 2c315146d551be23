"""The base class of methods that choose among the patches of all frames, and what they share.

Such a method chooses which patches to keep, and the kept patch that each other one is merged into, of any frame. Choices
are made in float32 or wider; on ties, the first wins. Sums of merged tokens are matrix products with membership masks,
which give the same bits on every run.
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

from vidzip.compress.counts import int_tensor
from vidzip.compress.method import Method, option
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures

MAX_CANDIDATES = 2048
"""The limit of candidates that are compared with each other, unless the budget is larger: 16 MiB in float32."""

_CHUNK_ELEMENTS = 2**24
"""The approximate limit of elements of an intermediate matrix; larger ones are computed in chunks of rows."""


class Patches:
    """The patches of F frames, N each, with indices over all frames: patch p of frame f has index ``f * N + p``.

    Attributes:
        num_frames: F.
        per_frame: N.
        total: F times N.
        scores: their importance, float32 or wider, (F, N).
    """

    def __init__(self, features: VisionFeatures) -> None:
        self._features = features
        self.num_frames, self.per_frame = features.num_frames, features.num_patches
        self.total = self.num_frames * self.per_frame
        self.scores: Float[Tensor, "frames patches"] = _widen(features.scores)

    def values(self, compare: Literal["hidden", "keys"]) -> Float[Tensor, "frames patches dim"]:
        """Return what similarities are computed from, float32 or wider, (F, N, dim)."""
        return _widen(self._features.patches if compare == "hidden" else self._features.keys)

    def indices(self) -> Int[Tensor, "frames patches"]:
        """Return the index of every patch, (F, N)."""
        return torch.arange(self.total, device=self.scores.device).view(self.num_frames, self.per_frame)

    def mask(self, indices: Int[Tensor, " some"]) -> Bool[Tensor, "frames patches"]:
        """Mark patches, (F, N)."""
        marks = torch.zeros(self.total, dtype=torch.bool, device=indices.device)
        return marks.scatter(0, indices, value=True).view(self.num_frames, self.per_frame)

    def by_score(self) -> Int[Tensor, "frames patches"]:
        """Order the positions within each frame by score, the highest first, (F, N)."""
        return self.scores.argsort(dim=1, descending=True, stable=True)

    def take_first(self, order: Int[Tensor, "frames places"], counts: Sequence[int]) -> Int[Tensor, " some"]:
        """Return the indices of the first ``counts[f]`` patches of frame f.

        Args:
            order: positions within each frame, in order, (F, n).
            counts: host integers, (F,).
        """
        frames = [frame for frame, count in enumerate(counts) for _ in range(count)]
        places = [place for count in counts for place in range(count)]
        frame, place = int_tensor(frames + places, order.device).view(2, len(frames))
        first: Tensor = frame * self.per_frame + order[frame, place]
        return first


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Which patches to keep, and what to do with the others.

    Attributes:
        anchors: indices of the kept patches, without repeats, (kept,).
        targets: index of the anchor that each patch is merged into, -1 to drop it, (F, N); entries of anchors are
            ignored. None drops all other patches.
    """

    anchors: Int[Tensor, " kept"]
    targets: Int[Tensor, "frames patches"] | None


@dataclass(frozen=True, kw_only=True)
class AcrossFrames(Method):
    """A method that keeps ``sum(counts)`` tokens in all, of any frames.

    CLS marks a new frame for the model. With ``keep_cls``, every frame keeps its CLS, paid from the budget; if there are
    more frames than tokens, evenly spread frames keep theirs, and no patch is kept. Without it, CLS is kept only if all
    patches are kept and tokens are left. CLS is never merged.

    Kept tokens are ordered by frame and source position. A budget of all tokens keeps them all, unchanged.
    """

    is_across_frames: ClassVar[bool] = True
    keeps_cls: ClassVar[bool] = True

    keep_cls: bool = option(
        default=True, explanation="whether frames keep their CLS token, which marks a new frame for the model"
    )
    merge: Literal["mean", "sum", "none"] = option(
        "mean",
        "what happens to other tokens: each is averaged into a kept one (mean), their mean is added to it (sum), or they "
        "are dropped (none)",
    )
    compare: Literal["hidden", "keys"] = option(
        "hidden", "what similarities are computed from: the tower's output (hidden) or its keys, as in VisionZip (keys)"
    )

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep exactly ``sum(counts)`` tokens in all."""
        patches, size = Patches(features), features.tokens_per_frame
        cls_frames, num_patches = self._split_budget(features, sum(counts))
        is_choice = 0 < num_patches < patches.total
        with torch.no_grad():
            if is_choice:
                choice = self._choose(patches, num_patches)
            else:
                choice = Choice(anchors=patches.indices().flatten()[:num_patches], targets=None)
            kept, source = self._locate(choice, patches, cls_frames, features.num_cls)
        all_tokens = features.tokens.flatten(0, 1)
        tokens = all_tokens[kept]
        if is_choice and self.merge != "none" and choice.targets is not None:
            tokens = self._merge_members(all_tokens, tokens, kept, source)
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
        """Choose ``count`` patches to keep, in [1, F * N - 1], and the targets of the others."""

    def _merge(
        self, anchor: Float[Tensor, "kept dim"], total: Float[Tensor, "kept dim"], count: Int[Tensor, "kept 1"]
    ) -> Float[Tensor, "kept dim"]:
        """Merge ``count`` tokens, one or more, whose sum is ``total``, into their anchor."""
        if self.merge == "sum":
            return anchor + total / count
        return (anchor + total) / (count + 1)

    def _max_cls(self, total: int) -> int:
        """Return the limit of CLS tokens in a budget."""
        return total

    def _split_budget(self, features: VisionFeatures, total: int) -> tuple[list[int], int]:
        """Choose the frames that keep CLS, and the number of patches to keep."""
        num_frames = features.num_frames
        wanted = min(num_frames, total, self._max_cls(total)) if features.has_cls and self.keep_cls else 0
        # Tokens that exceed the number of patches go to CLS tokens, even without keep_cls.
        num_cls = max(wanted, total - num_frames * features.num_patches)
        # The middles of equal intervals of the video.
        return [(2 * i + 1) * num_frames // (2 * num_cls) for i in range(num_cls)], total - num_cls

    def _locate(
        self, choice: Choice, patches: Patches, cls_frames: Sequence[int], num_cls: int
    ) -> tuple[Int[Tensor, " kept"], Int[Tensor, " all"]]:
        """Find the kept tokens among all source tokens, ascending, and the kept token that each source token ends in."""
        anchors, size, device = choice.anchors, patches.per_frame + num_cls, choice.anchors.device
        targets = torch.full_like(patches.indices(), -1)
        if choice.targets is not None and self.merge != "none":
            targets = choice.targets
        targets = targets.flatten().scatter(0, anchors, anchors).view_as(targets)

        def among_all(indices: Tensor) -> Tensor:
            return indices + (indices // patches.per_frame + 1) * num_cls

        cls = int_tensor([frame * size for frame in cls_frames], device)
        kept = torch.cat([cls, among_all(anchors)]).sort().values
        token_at = torch.full((patches.num_frames * size,), -1, device=device)
        token_at = token_at.scatter(0, kept, torch.arange(len(kept), device=device))
        source = token_at[among_all(targets.clamp(min=0))].where(targets >= 0, -1)
        return kept, torch.cat([token_at.view(-1, size)[:, :num_cls], source], dim=1).flatten()

    def _merge_members(
        self,
        all_tokens: Float[Tensor, "all dim"],
        anchors: Float[Tensor, "kept dim"],
        kept: Int[Tensor, " kept"],
        source: Int[Tensor, " all"],
    ) -> Float[Tensor, "kept dim"]:
        """Merge into each kept token the others that end in it; one without others stays unchanged."""
        target = source.scatter(0, kept, -1)
        # Tokens that are not merged are set to 0: an infinity in them, times 0 in the mask, would be NaN.
        members = _widen(all_tokens).masked_fill((target < 0)[:, None], 0)
        totals, counts = [], []
        for rows in row_chunks(len(kept), len(target)):
            is_member = target[None, :] == torch.arange(rows.start, rows.stop, device=target.device)[:, None]
            totals.append(is_member.to(members.dtype) @ members)
            counts.append(is_member.sum(dim=1, keepdim=True))
        total, count = torch.cat(totals), torch.cat(counts)
        merged = self._merge(_widen(anchors), total, count.clamp(min=1))
        return torch.where(count > 0, merged.to(all_tokens.dtype), anchors)


def num_candidates(multiple: int, count: int, available: int) -> int:
    """Return how many patches to choose ``count`` from: ``multiple`` times as many, within the limits."""
    return min(available, max(count, min(multiple * count, MAX_CANDIDATES)))


def argsort_by(*keys: Float[Tensor, "*shape"] | Int[Tensor, "*shape"] | Bool[Tensor, "*shape"]) -> Int[Tensor, " all"]:
    """Sort by the first key, ascending; ties by the next key, and so on, then by index."""
    order: Tensor | None = None
    for key in reversed(keys):
        flat = key.flatten().to(torch.uint8) if key.dtype == torch.bool else key.flatten()
        order = flat.argsort(stable=True) if order is None else order[flat[order].argsort(stable=True)]
    if order is None:
        raise BadArgument("there is no key to sort by", hint="give one or more")
    return order


def split_in_proportion(sizes: Int[Tensor, " groups"], total: int) -> Int[Tensor, " groups"]:
    """Split ``total`` among groups in proportion to their sizes, which none exceeds; all sizes if they sum to less.

    The first i groups get ``floor(total * their sizes / all sizes)`` together.
    """
    ends = sizes.cumsum(0)
    all_sizes = ends[-1:]
    split = ends * all_sizes.clamp(max=total) // all_sizes.clamp(min=1)
    return split.diff(prepend=split.new_zeros(1))


def find_segments(
    frames: Float[Tensor, "frames dim"], min_segments: int, threshold: float
) -> tuple[Int[Tensor, " frames"], Bool[Tensor, " cuts"]]:
    """Divide a video where consecutive frames differ, as FastVID does.

    There is a cut at each of the ``min_segments - 1`` smallest cosine similarities of consecutive frames, and at every
    one below ``threshold``.

    Returns:
        The number of each frame's segment, (F,), and whether there is a cut after each frame but the last, (F - 1,).
    """
    unit = F.normalize(frames, dim=-1)
    similarity = (unit[1:] * unit[:-1]).sum(-1)
    is_cut = (similarity.argsort(stable=True).argsort() < min_segments - 1) | (similarity < threshold)
    return F.pad(is_cut.cumsum(0), (1, 0)), is_cut


def density_peak_scores(
    values: Float[Tensor, "groups points dim"], mask: Bool[Tensor, "groups points"], neighbours: int
) -> Float[Tensor, "groups points"]:
    """Score how well each point represents those around it in its group: the logarithm of density times distance.

    Density peaks with k nearest neighbours: rho_i = exp(-mean of the k smallest squared distances / dim), to itself
    included, as in the code of FastVID and HoliTom; delta_i = the distance to the nearest denser point, or the largest
    distance of the group for the densest; the score is log(rho_i * delta_i). On ties, the first counts as denser; the
    published code adds noise. Logarithms prevent underflow.

    Args:
        values: points of G groups of n each, (G, n, dim).
        mask: which points to use, (G, n).
        neighbours: k.

    Returns:
        Scores, (G, n); -inf for unused points, and only for those.
    """
    num_groups, size, _ = values.shape
    chunks = row_chunks(num_groups, size * size)
    return torch.cat([_density_peak_scores(values[rows], mask[rows], min(neighbours, size)) for rows in chunks])


def _density_peak_scores(
    values: Float[Tensor, "groups points dim"], mask: Bool[Tensor, "groups points"], neighbours: int
) -> Float[Tensor, "groups points"]:
    centred = values - values.mean(dim=1, keepdim=True)  # keeps the precision of differences
    squares = centred.square().sum(-1)
    distance = torch.baddbmm(squares[:, :, None] + squares[:, None, :], centred, centred.transpose(1, 2), alpha=-2)
    distance = distance.clamp_(min=0) / values.shape[-1]
    distance.diagonal(dim1=1, dim2=2).zero_()
    distance = distance.masked_fill(~mask[:, None, :], torch.inf)

    nearest = distance.topk(neighbours, dim=-1, largest=False).values
    is_used = nearest.isfinite()
    log_density = -nearest.where(is_used, 0).sum(-1) / is_used.sum(-1).clamp(min=1)
    place = torch.arange(values.shape[1], device=values.device)
    one, other = log_density[:, :, None], log_density[:, None, :]
    is_denser = (other > one) | ((other == one) & (place[None, :] < place[:, None]))
    is_denser &= mask[:, None, :]
    largest = distance.where(mask[:, :, None] & mask[:, None, :], 0).amax(dim=(1, 2))[:, None]
    gap = distance.where(is_denser, torch.inf).amin(dim=-1)
    gap = torch.where(gap.isfinite(), gap, largest)
    score = (log_density + gap.log() / 2).clamp(min=torch.finfo(values.dtype).min)  # the gap of a duplicate is 0
    return score.masked_fill(~mask, -torch.inf)


def most_similar(
    unit: Float[Tensor, "frames patches dim"],
    targets: Int[Tensor, " targets"],
    is_allowed: Bool[Tensor, "frames targets"] | None = None,
) -> Int[Tensor, "frames patches"]:
    """Find the index of the target with the highest cosine similarity to each patch, -1 if none is allowed, (F, N).

    It takes F * N * targets * dim multiplications; memory is bounded.

    Args:
        unit: values of patches, of length 1, (F, N, dim).
        targets: indices of patches, (targets,).
        is_allowed: which targets are allowed for the patches of a frame, (F, targets); all by default.
    """
    num_frames, per_frame, _ = unit.shape
    if len(targets) == 0:
        return targets.new_full((num_frames, per_frame), -1)
    unit_targets = unit.flatten(0, 1)[targets]
    found = []
    for rows in row_chunks(num_frames, per_frame * len(targets)):
        similarity = unit[rows] @ unit_targets.T
        if is_allowed is not None:
            similarity = similarity.masked_fill(~is_allowed[rows][:, None, :], -torch.inf)
        highest, place = similarity.max(dim=-1)
        found.append(targets[place].where(highest > -torch.inf, -1))
    return torch.cat(found)


def row_chunks(num_rows: int, width: int) -> Iterator[slice]:
    """Divide the rows of a matrix into chunks that fit into memory; one empty chunk if there are no rows."""
    step = max(1, _CHUNK_ELEMENTS // max(1, width))
    for start in range(0, max(1, num_rows), step):
        yield slice(start, min(start + step, num_rows))


def _widen(values: Tensor) -> Tensor:
    """Convert to float32, or keep a wider dtype."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
