"""A run: every question of a set asked of a model, each video decoded, encoded and read once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import vidzip
from eval.datasets import DatasetError, Sample, VideoFolder
from pipelines.evaluation.answering import Answerer, Row, failed
from pipelines.evaluation.crew import (
    GRACE_SECONDS,
    Decoded,
    Failure,
    Job,
    decode_ahead,
    decode_job,
    processes_ended,
)
from pipelines.evaluation.journal import Journal
from pipelines.evaluation.packs import PackCache
from pipelines.terminal import Progress
from vidzip import Budget, Decoding, PackedVideo, VideoLlava, VidzipError
from vidzip.errors import BadArgument, OutOfMemory, SystemFault
from vidzip.video.probing import identify
from vidzip.video.sampling import Policy


@dataclass(frozen=True, kw_only=True)
class Look:
    """What of a video the model is shown.

    Attributes:
        budget: frames and tokens; None shows nothing.
        policy: how frames are chosen.
        method: a name in :data:`vidzip.compress.METHODS`.
        options: the method's own.
    """

    budget: Budget | None
    policy: Policy = "middle"
    method: str = "visionzip"
    options: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """As a run's description holds it."""
        if self.budget is None:
            return {"blind": True}
        return {
            "blind": False,
            "budget": self.budget.total_tokens,
            "frames": self.budget.num_frames,
            "policy": self.policy,
            "method": self.method,
            "options": dict(self.options),
        }


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run does.

    Attributes:
        samples: the questions, in file order.
        videos: where their videos lie; None where none is looked at.
        look: what of a video is shown.
        decoding: how videos are decoded.
        processes: processes that decode.
        cache: where packed videos are kept; None for nowhere.
        decode: what a process that decodes does.
        grace_seconds: how long one may go on after its video's time is up.
    """

    samples: Sequence[Sample]
    videos: VideoFolder | None
    look: Look
    decoding: Decoding = field(default_factory=Decoding)
    processes: int = 1
    cache: str | None = None
    decode: Callable[[Job], tuple[Any, ...]] = decode_job
    grace_seconds: float = GRACE_SECONDS


def identify_model(model: VideoLlava) -> dict[str, Any]:
    """Which model it is: its name, the hub's commit where it came from there, and its tower's hash."""
    return {"model": model.name, "commit": model.commit, "tower": model.tower_fingerprint}


def describe_model(model: VideoLlava, revision: str | None) -> dict[str, Any]:
    """What of a model its answers depend on, as a run's description holds it."""
    return {
        **identify_model(model),
        "revision": revision,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
    }


@cache
def versions() -> dict[str, str]:
    """Versions that an answer may depend on."""
    return {"vidzip": vidzip.__version__, **{name: version(name) for name in ("torch", "transformers", "av")}}


def run(
    work: Work, answerer: Answerer, journal: Journal, show: Progress, hand_out: Iterable[str] | None = None
) -> None:
    """Ask what has no line in the journal yet; every question gets one, an answer or the reason why there is none.

    Args:
        work: what is to be done.
        answerer: who answers.
        journal: where lines are kept.
        show: told how far it is.
        hand_out: the videos to be looked at, taken one by one as there is room; all of them when left out.

    Raises:
        OutOfMemory, WriteError, DiskFull: the machine lacks room; the same run goes on from there.
    """
    of_video = by_video(work.samples)
    teller = Teller(show, journal, len(work.samples))
    teller.tell()
    if work.look.budget is None:
        ask_blind(answerer, journal, work.samples, teller.tell)
        return
    left = (
        video
        for video in (of_video if hand_out is None else hand_out)
        if any(sample.id not in journal.rows for sample in of_video[video])
    )
    for video, outcome in _packed(work, answerer.model, left):
        ask_about(answerer, journal, outcome, of_video[video], teller.tell)


def ask_about(
    answerer: Answerer, journal: Journal, shown: Shown | Failure, samples: Sequence[Sample], tell: Callable[[], None]
) -> None:
    """Ask about a video what has no line yet, or write down why nothing can be asked."""
    if isinstance(shown, Failure):
        journal.add([failed(one, shown) for one in samples if one.id not in journal.rows])
        tell()
        return
    plan = _traced(shown)
    for rows in answerer.over(shown.packed, samples, journal.rows, shown.seconds):
        journal.add([{**row, **_origin(answerer), "plan": plan} if row["failure"] is None else row for row in rows])
        tell()


def ask_blind(answerer: Answerer, journal: Journal, samples: Sequence[Sample], tell: Callable[[], None]) -> None:
    """Ask without videos what has no line yet."""
    for rows in answerer.blind(samples, journal.rows):
        journal.add([{**row, **_origin(answerer)} if row["failure"] is None else row for row in rows])
        tell()


def _origin(answerer: Answerer) -> dict[str, Any]:
    """Who answered, with what."""
    return {"model": identify_model(answerer.model), "versions": versions()}


def by_video(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Group questions by their video, both in file order."""
    of_video: dict[str, list[Sample]] = {}
    for sample in samples:
        of_video.setdefault(sample.video, []).append(sample)
    return of_video


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A video to be asked about.

    Attributes:
        packed: it.
        seconds: what it took, stage by stage; nothing of a pack that was kept.
        is_kept: whether the pack was kept from before.
    """

    packed: PackedVideo
    seconds: Mapping[str, float]
    is_kept: bool


def _packed(work: Work, model: VideoLlava, videos: Iterable[str]) -> Iterator[tuple[str, Shown | Failure]]:
    """Pack videos: those whose packs are kept as they come by, others as they are decoded."""
    cache = _cache(work, model)
    steps = (_first_step(work, model, cache, video) for video in videos)
    with processes_ended(decode_ahead(steps, work.processes, work.decode, work.grace_seconds)) as done:
        for one in done:
            if isinstance(one, Decoded):
                yield one.job.key, _pack(work, model, cache, one)
            else:
                yield one


def _first_step(
    work: Work, model: VideoLlava, cache: PackCache | None, video: str
) -> Job | tuple[str, Shown | Failure]:
    """Find what a video needs: decoding; or nothing, where its pack is kept, or it cannot be had."""
    if work.look.budget is None or work.videos is None:
        raise ValueError("there is nothing to be packed")
    try:
        path = work.videos.find(video)
        kept = cache.get(identify(path)) if cache else None
    except (DatasetError, VidzipError) as error:
        return video, Failure(kind=type(error).__name__, reason=str(error))
    if kept is not None:
        return video, Shown(packed=kept, seconds={}, is_kept=True)
    return Job(
        key=video,
        path=path,
        budget=work.look.budget,
        shape=model.preprocessor.shape,
        max_tokens_per_frame=model.tokens_per_frame,
        frames_per_clip=model.frames_per_clip,
        policy=work.look.policy,
        method=work.look.method,
        decoding=work.decoding,
    )


def _pack(work: Work, model: VideoLlava, cache: PackCache | None, decoded: Decoded) -> Shown | Failure:
    """Encode and compress what was decoded; what is wrong with this video alone costs this video alone."""
    if isinstance(decoded.outcome, Failure):
        return decoded.outcome
    try:
        packed = model.pack_footage(decoded.outcome, work.look.method, **work.look.options)
    except (BadArgument, OutOfMemory, SystemFault):
        raise
    except VidzipError as error:
        return Failure(kind=type(error).__name__, reason=str(error))
    if cache:
        cache.keep(packed)
    return Shown(packed=packed, seconds={"decode": decoded.seconds, **packed.stage_seconds}, is_kept=False)


def _cache(work: Work, model: VideoLlava) -> PackCache | None:
    if work.cache is None:
        return None
    made_by = {
        **work.look.described(),
        **describe_model(model, None),
        "model": None,  # packs are the tower's, whatever is behind it
        "decoder": work.decoding.backend,
        "strict": work.decoding.strict,
    }
    return PackCache(folder=work.cache, made_by=made_by)


def _traced(shown: Shown) -> dict[str, Any]:
    """What was shown, for whoever follows an answer back."""
    packed, plan = shown.packed, shown.packed.plan
    return {
        "video_identity": plan.video_identity,
        "timestamps_seconds": [round(moment, 6) for moment in packed.timestamps_seconds],
        "tokens_per_frame": list(packed.tokens_per_frame),
        "method": packed.method,
        "from_cache": shown.is_kept,
    }


class Teller:
    """Tells how far a run is: questions done of all, how fast, how long still, and failures."""

    def __init__(self, show: Progress, journal: Journal, total: int) -> None:
        self._show, self._journal, self._total = show, journal, total
        self._before, self._began = len(journal.rows), time.monotonic()

    def tell(self) -> None:
        """Tell where the run is now."""
        done = len(self._journal.rows)
        new, seconds = done - self._before, time.monotonic() - self._began
        words = ["answer"]
        if new and seconds > 1:
            rate = new / seconds
            words.append(f"{rate:.1f}/s, {_duration((self._total - done) / rate)} left")
        if self._journal.num_failed:
            words.append(f"{self._journal.num_failed} failed")
        self._show(", ".join(words), done, self._total)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def summary(samples: Sequence[Sample], rows: Mapping[str, Row]) -> dict[str, Any]:
    """Count what became of questions, and why some have no answer."""
    mine = [rows[sample.id] for sample in samples if sample.id in rows]
    reasons: dict[str, int] = {}
    for row in mine:
        if row["failure"] is not None:
            reasons[row["failure"]["kind"]] = reasons.get(row["failure"]["kind"], 0) + 1
    return {
        "questions": len(samples),
        "answered": sum(row["failure"] is None for row in mine),
        "failed": sum(reasons.values()),
        "left": len(samples) - len(mine),
        "failures": reasons,
    }
