"""All runs of a grid at once: each video is decoded and encoded once for a frame count, whatever becomes of it then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.datasets import DatasetError, Sample, VideoFolder
from pipelines.evaluation.answering import Answerer
from pipelines.evaluation.crew import Decoded, Failure, Job, decode_ahead, processes_ended
from pipelines.evaluation.journal import Journal
from pipelines.evaluation.running import Shown, ask_about, ask_blind, by_video
from pipelines.grid.settings import Setting
from pipelines.terminal import Progress
from vidzip import Budget, Decoding, Plan, VideoLlava, VidzipError
from vidzip.compress.counts import share
from vidzip.errors import BadArgument, OutOfMemory, SystemFault
from vidzip.footage import Footage
from vidzip.video.sampling import Policy


@dataclass(frozen=True, kw_only=True)
class GridWork:
    """What a grid does.

    Attributes:
        samples: the questions, in file order.
        videos: where their videos lie.
        settings: the runs.
        decoding: how videos are decoded.
        processes: processes that decode.
    """

    samples: Sequence[Sample]
    videos: VideoFolder
    settings: Sequence[Setting]
    decoding: Decoding
    processes: int


def run_grid(work: GridWork, answerer: Answerer, journals: Mapping[str, Journal], show: Progress) -> None:
    """Ask at every setting what has no line in its journal yet.

    Args:
        work: what is to be done.
        answerer: who answers.
        journals: each setting's, by its key.
        show: told how far it is.

    Raises:
        OutOfMemory, WriteError, DiskFull: the machine lacks room; the same grid goes on from there.
    """
    of_video = by_video(work.samples)
    tell = _teller(show, journals, len(work.samples) * len(work.settings))
    for setting in work.settings:
        if not setting.frames:
            ask_blind(answerer, journals[setting.key], work.samples, tell)
    looks = _looks(work.settings)

    def left(video: str, settings: Sequence[Setting]) -> list[Setting]:
        return [one for one in settings if any(s.id not in journals[one.key].rows for s in of_video[video])]

    wanted = ((video, look) for video in of_video for look, settings in looks.items() if left(video, settings))
    for video, look, outcome, seconds in _footage(work, answerer.model, wanted, looks):
        for setting, shown in _pack_all(answerer.model, left(video, looks[look]), outcome, seconds):
            ask_about(answerer, journals[setting.key], shown, of_video[video], tell)


def _footage(
    work: GridWork, model: VideoLlava, wanted: Iterable[tuple[str, str]], looks: Mapping[str, Sequence[Setting]]
) -> Iterator[tuple[str, str, Footage | Failure, float]]:
    """Decode videos in processes of their own; with each, how it is looked at, and the seconds that it took."""
    steps = (_step(work, model, video, look, looks[look]) for video, look in wanted)
    with processes_ended(decode_ahead(steps, work.processes)) as done:
        for one in done:
            if isinstance(one, Decoded):
                video, _, look = one.job.key.rpartition("/")
                yield video, look, one.outcome, one.seconds
            else:
                yield *one, 0.0


def _looks(settings: Sequence[Setting]) -> dict[str, list[Setting]]:
    """Group settings that see the same frames."""
    looks: dict[str, list[Setting]] = {}
    for setting in settings:
        if setting.frames:
            looks.setdefault("full" if setting.method is None else str(setting.frames), []).append(setting)
    return looks


def _step(
    work: GridWork, model: VideoLlava, video: str, look: str, settings: Sequence[Setting]
) -> Job | tuple[str, str, Failure]:
    """What a video needs to be looked at: decoding, or nothing where it cannot be had."""
    try:
        path = work.videos.find(video)
    except DatasetError as error:
        return video, look, Failure(kind=type(error).__name__, reason=str(error))
    frames = settings[0].frames
    policy: Policy = "middle"
    total = max(setting.budget or 0 for setting in settings)
    if settings[0].method is None:
        policy, total = model.policy, frames * model.tokens_per_frame
    return Job(
        key=f"{video}/{look}",
        path=path,
        budget=Budget(total_tokens=total, num_frames=frames),
        shape=model.preprocessor.shape,
        max_tokens_per_frame=model.tokens_per_frame,
        frames_per_clip=model.frames_per_clip,
        policy=policy,
        decoding=work.decoding,
    )


def _pack_all(
    model: VideoLlava, settings: Sequence[Setting], outcome: Footage | Failure, seconds: float
) -> Iterator[tuple[Setting, Shown | Failure]]:
    """Pack the same footage at each setting; what is wrong with the video alone is every setting's failure."""
    if isinstance(outcome, Failure):
        yield from ((setting, outcome) for setting in settings)
        return
    encoded = model.encode_footage(outcome)
    for setting in settings:
        plan = _spend(outcome.plan, setting, model.tokens_per_frame)
        try:
            packed = model.pack_features(encoded, plan, setting.method or "none")
        except (BadArgument, OutOfMemory, SystemFault):
            raise
        except VidzipError as error:
            yield setting, Failure(kind=type(error).__name__, reason=str(error))
            continue
        yield setting, Shown(packed=packed, seconds={"decode": seconds, **packed.stage_seconds}, is_kept=False)


def _spend(plan: Plan, setting: Setting, size: int) -> Plan:
    """The plan of the same frames at a setting's own budget, shared evenly."""
    if setting.budget is None or setting.budget == plan.budget.total_tokens:
        return plan
    return replace(
        plan,
        budget=replace(plan.budget, total_tokens=setting.budget),
        tokens_per_frame=tuple(share(setting.budget, plan.num_frames, size)),
    )


def _teller(show: Progress, journals: Mapping[str, Journal], total: int) -> Callable[[], None]:
    """Tell how many answers there are of all, and how long the rest may take."""
    before, began = sum(len(one.rows) for one in journals.values()), time.monotonic()

    def tell() -> None:
        done = sum(len(one.rows) for one in journals.values())
        spent = time.monotonic() - began
        words = "answer"
        if done > before and spent > 1:
            minutes = round((total - done) * spent / (done - before) / 60)
            words += f", about {minutes // 60}:{minutes % 60:02} h left"
        show(words, done, total)

    tell()
    return tell
