"""Decoding one keyframe group at a time, from its keyframe to its last wanted frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8
from torch import Tensor

from vidzip.video.containers import OpenVideo, open_video
from vidzip.video.conversion import FrameConverter
from vidzip.video.indexing import FrameIndex
from vidzip.video.keyframe_groups import KeyframeGroup
from vidzip.video.limits import TimeLimit
from vidzip.video.request import DecodeRequest

_SKIPPABLE_CODECS = {"h264", "hevc", "mpeg1video", "mpeg2video"}
"""Codecs for which skipping frames that are not references changes no other frame. AV1 loses frames then, and VP9 gains
nothing."""

_PROGRESSIVE = {0, 1}
"""Field orders (unknown, progressive) of streams that do not split a frame's two fields over two packets."""

_KEYFRAMES_BACK = (0, 0, 1, 3)
"""How many keyframes before the group's own each attempt starts. Only the first attempt skips frames."""


class FrameNotFound(Exception):
    """A frame of the index was not decoded, or a frame was decoded that is not in the index."""


class GroupReader:
    """Opens a video and decodes it group by group, in one thread.

    Args:
        request: the file, and the shape of its frames.
        index: its index, with reliable timestamps.
        threads: threads of the decoder; 1 if other readers run in parallel.
        limit: the file's time limit.
        check: called between packets; it raises an error to stop.
    """

    def __init__(
        self, request: DecodeRequest, index: FrameIndex, *, threads: int, limit: TimeLimit, check: Callable[[], None]
    ) -> None:
        self._path, self._index, self._threads = request.path, index, threads
        self._limit, self._check_stopped = limit, check
        self._opened = ExitStack()
        self._video = self._open()
        self._converter = FrameConverter(request.shape, self._video.pixel_aspect)

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def work(self, task: KeyframeGroup) -> Iterator[tuple[int, UInt8[Tensor, "3 height width"]]]:
        """Yield the ticks and pixels of a group's wanted frames, in order.

        Raises:
            FrameNotFound: one of them cannot be decoded completely.
            av.FFmpegError: the file is damaged there.
        """
        missing = deque(task.wanted)
        for attempt, back in enumerate(_KEYFRAMES_BACK):
            for frame in self._attempt(task.keyframe - back, missing, skips=attempt == 0):
                yield missing.popleft(), self._converter(frame)
            if not missing:
                return
        raise FrameNotFound

    def _attempt(self, keyframe: int, missing: deque[int], *, skips: bool) -> Iterator[VideoFrame]:
        """Decode once from a keyframe, up to the last wanted frame or the first one that is missing or damaged."""
        packets = self._packets_from(keyframe, missing[0])
        codec = self._video.stream.codec_context
        wanted, last = frozenset(missing), missing[-1]
        latest: int | None = None
        try:
            for frame in self._decode(packets, wanted, skips=skips):
                if frame.pts is None or (latest is not None and frame.pts <= latest):
                    raise FrameNotFound  # timestamps that are not in display order are not reliable
                latest = frame.pts
                if frame.is_corrupt:
                    return
                if frame.pts in wanted:
                    if frame.pts != missing[0]:
                        return
                    yield frame
                if frame.pts >= last:
                    return
        finally:
            codec.skip_frame = "DEFAULT"

    def _decode(
        self, packets: Iterator[Packet[VideoStream]], wanted: frozenset[int], *, skips: bool
    ) -> Iterator[VideoFrame]:
        """Decode packets in file order; after the last wanted one, only the frames that the decoder holds."""
        codec = self._video.stream.codec_context
        skips = skips and codec.codec.canonical_name in _SKIPPABLE_CODECS
        missing: set[int | None] = set(wanted)  # decoding order may differ from display order
        for packet in packets:
            self._check()
            self._check_timestamp(packet)
            if skips:
                is_needed = packet.pts is None or packet.pts in wanted
                codec.skip_frame = "DEFAULT" if is_needed else "NONREF"
            yield from packet.decode()
            missing.discard(packet.pts)
            if not missing and codec.field_order in _PROGRESSIVE:
                self._check_following(packets, max(wanted))
                yield from codec.decode(None)
                return

    def _check(self) -> None:
        self._check_stopped()
        self._limit.check()

    def _check_following(self, packets: Iterator[Packet[VideoStream]], last: int) -> None:
        """Check the packets of all frames that may be displayed before the one after the last wanted frame."""
        if self._index.from_header:
            for packet in packets:
                self._check_timestamp(packet)
                if packet.dts is None or packet.dts > last:
                    return

    def _check_timestamp(self, packet: Packet[VideoStream]) -> None:
        """Check that an index from a header lacks no frame between those that it lists."""
        index = self._index
        if (
            index.ticks_per_frame
            and packet.pts is not None
            and (packet.pts - int(index.ticks[0])) % index.ticks_per_frame
        ):
            raise FrameNotFound

    def _packets_from(self, keyframe: int, first: int) -> Iterator[Packet[VideoStream]]:
        """Seek to a keyframe at or before a frame; go back further if the seek lands after it."""
        stream, back = self._video.stream, 1
        while keyframe > 0:
            try:
                self._video.container.seek(int(self._index.keyframes[keyframe]), stream=stream, backward=True)
                packets = self._video.packets()
                landed = next((packet for packet in self._checked(packets) if packet.is_keyframe), None)
            except av.FFmpegError:  # some formats cannot seek
                break
            finally:
                self._was_read = True
            if landed is not None and landed.pts is not None and landed.pts <= first:
                return chain([landed], packets)
            keyframe, back = keyframe - back, back * 2
        return self._packets_from_start()

    def _checked(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        for packet in packets:
            self._check()
            yield packet

    def _packets_from_start(self) -> Iterator[Packet[VideoStream]]:
        if self._was_read:
            self._opened.close()
            self._video = self._open()
        self._was_read = True
        return self._video.packets()

    def _open(self) -> OpenVideo:
        self._was_read = False
        video = self._opened.enter_context(open_video(self._path, self._limit))
        video.stream.thread_type = "NONE" if self._threads == 1 else "AUTO"
        video.stream.codec_context.thread_count = self._threads
        return video
