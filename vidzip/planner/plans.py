"""Plans, and reports of what was predicted of them. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from vidzip.errors import BadArgument
from vidzip.planner.budget import Budget, Limit
from vidzip.planner.costs import CostModel, Costs
from vidzip.video.sampling import Policy, check_count


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which frames of a video to use, and how many tokens each may keep.

    Attributes:
        video_identity: the fingerprint of the video; None if unknown.
        budget: what the plan was made from.
        timestamps_seconds: ascending, (F,).
        tokens_per_frame: tokens that each frame may keep, (F,).
        policy: how the timestamps were sampled; None if they were given by hand.
        start_seconds: start of the requested time range; None for the video's start.
        end_seconds: end of the requested time range; None for the video's end.
        snap: whether the timestamps were moved to keyframes.
        frames_per_clip: frames that the vision tower encodes together; 1 if it encodes each frame alone.
        warnings: how the plan differs from what was requested.

    Raises:
        BadArgument: there is no frame, the lists differ in length, a count is negative, or the tokens exceed the budget.
    """

    video_identity: str | None
    budget: Budget
    timestamps_seconds: tuple[float, ...]
    tokens_per_frame: tuple[int, ...]
    policy: Policy | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    snap: bool = False
    frames_per_clip: int = 1
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames_per_clip", check_count(self.frames_per_clip, "frames_per_clip"))
        if len(self.timestamps_seconds) != len(self.tokens_per_frame):
            raise BadArgument(
                f"{len(self.timestamps_seconds)} timestamps for {len(self.tokens_per_frame)} token counts",
                hint="give one token count per timestamp",
            )
        if not self.tokens_per_frame or min(self.tokens_per_frame) < 0:
            raise BadArgument(
                f"the frames' tokens are {self.tokens_per_frame}", hint="plan at least one frame, of 0 or more tokens"
            )
        if self.total_tokens > self.budget.total_tokens:
            raise BadArgument(
                f"the frames' tokens sum to {self.total_tokens}, which exceeds the budget of {self.budget.total_tokens}",
                hint="give the frames fewer tokens, or raise the budget",
            )

    @property
    def num_frames(self) -> int:
        """F, the number of frames."""
        return len(self.timestamps_seconds)

    @property
    def num_repeats(self) -> int:
        """How often the last frame is repeated to fill the last clip; repeats get no tokens."""
        return -self.num_frames % self.frames_per_clip

    @property
    def num_encoded_frames(self) -> int:
        """Frames that the vision tower encodes, in whole clips: F plus the repeats."""
        return self.num_frames + self.num_repeats

    @property
    def notes(self) -> tuple[str, ...]:
        """How frames are grouped into clips, if they are."""
        if self.frames_per_clip == 1:
            return ()
        clips = self.num_encoded_frames // self.frames_per_clip
        note = f"{self.num_frames} frames are encoded in clips of {self.frames_per_clip}, {clips} in all"
        if self.num_repeats:
            note += (
                f": the last one is repeated {self.num_repeats} times to fill its clip, and the repeats get no tokens"
            )
        return (note,)

    @property
    def total_tokens(self) -> int:
        """Tokens of all frames together."""
        return sum(self.tokens_per_frame)

    @property
    def unused_tokens(self) -> int:
        """Tokens of the budget that no frame gets: every frame keeps all of its tokens, or more would exceed a limit."""
        return self.budget.total_tokens - self.total_tokens


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A plan that was not chosen.

    Attributes:
        num_frames: F.
        total_tokens: tokens of all frames together.
        costs: predicted costs; None without a cost model, or if the video has fewer frames.
        exceeded_limits: empty if the plan is allowed, and worse.
        reason: why it was not chosen.
    """

    num_frames: int
    total_tokens: int
    costs: Costs | None
    exceeded_limits: tuple[Limit, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """A plan, its predicted costs, and why it was chosen.

    Attributes:
        plan: the plan.
        method: the compression method whose measured accuracy the choice followed.
        cost_model: what predicted the costs; None without costs.
        costs: predicted costs; None without a cost model.
        binding_constraints: the limits that rule out every plan that the budget would prefer.
        alternatives: the nearest other plans.
        notes: what was assumed for the choice and the predictions.
    """

    plan: Plan
    method: str
    cost_model: CostModel | None
    costs: Costs | None
    binding_constraints: tuple[Limit, ...]
    alternatives: tuple[Alternative, ...]
    notes: tuple[str, ...]

    @property
    def pack_bytes(self) -> int | None:
        """Predicted size of the packed video's file; None without a cost model that knows the vision tower's width."""
        model = self.cost_model
        return None if model is None else model.shape.pack_bytes(self.plan.num_frames, self.plan.total_tokens)


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """The most tokens that a number of frames may have.

    Attributes:
        num_frames: F.
        total_tokens: the most tokens within all limits; the fewest possible if even those exceed a limit.
        accuracy: measured accuracy of the method, or of the method that replaces it; None outside of what was measured.
        costs: predicted costs; None without a cost model.
        exceeded_limits: empty if the point is allowed.
    """

    num_frames: int
    total_tokens: int
    accuracy: float | None
    costs: Costs | None
    exceeded_limits: tuple[Limit, ...]
