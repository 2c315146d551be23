"""Decoding one stretch of a video at a time, from the keyframe before it to the last frame wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidzip.video.containers import OpenVideo, open_video
from vidzip.video.grouping import Group
from vidzip.video.indexing import Index
from vidzip.video.limits import TimeLimit

_SKIPPABLE = {"h264", "hevc", "mpeg1video", "mpeg2video"}
"""Codecs whose frames that no other builds on can be left out and no other frame changes. AV1 lost frames so, and VP9
gains nothing."""

_WHOLE_PICTURES = {0, 1}
"""Field orders, unknown and progressive, of streams that do not spread a picture's two fields over two packets."""

_BACK = (0, 0, 1, 3)
"""How many keyframes before a group's own each attempt at it begins. Only the first one leaves frames out."""


class NotThereError(Exception):
    """A frame that the index promises did not come, or one came that the index does not know."""


class Reader:
    """A video, opened anew, and read group by group in one thread.

    Args:
        path: the file.
        index: its index; the frames must be labelled.
        threads: threads that decode together; 1 where other readers work beside this one.
        limit: the file's clock.
        check: called between packets; it raises what ends the work.
    """

    def __init__(self, path: str, index: Index, *, threads: int, limit: TimeLimit, check: Callable[[], None]) -> None:
        self._path, self._index, self._threads = path, index, threads
        self._limit, self._check = limit, check
        self._opened = ExitStack()
        self.video = self._open()

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def frames(self, group: Group) -> Iterator[VideoFrame]:
        """Yield the frames wanted, in order.

        Raises:
            NotThereError: one did not come, or not whole.
            av.FFmpegError: the file is damaged there.
        """
        left = deque(group.wanted)
        for attempt, back in enumerate(_BACK):
            for frame in self._pass(group.key - back, left, skips=attempt == 0):
                left.popleft()
                yield frame
            if not left:
                return
        raise NotThereError

    def _pass(self, key: int, left: deque[int], *, skips: bool) -> Iterator[VideoFrame]:
        """Decode once from a keyframe on, up to the last frame wanted or the first one that is missed or damaged."""
        packets = self._packets_from(key, left[0])
        codec = self.video.stream.codec_context
        wanted, last = frozenset(left), left[-1]
        latest: int | None = None
        try:
            for frame in self._decoded(packets, wanted, skips=skips):
                if frame.pts is None or (latest is not None and frame.pts <= latest):
                    raise NotThereError  # labels that are not in the order shown are not to be relied on
                latest = frame.pts
                if frame.is_corrupt:
                    return
                if frame.pts in wanted:
                    if frame.pts != left[0]:
                        return
                    yield frame
                if frame.pts >= last:
                    return
        finally:
            codec.skip_frame = "DEFAULT"

    def _decoded(
        self, packets: Iterator[Packet[VideoStream]], wanted: frozenset[int], *, skips: bool
    ) -> Iterator[VideoFrame]:
        """Decode packets, in the order of the file; after all that are wanted, only what the decoder still holds."""
        codec = self.video.stream.codec_context
        skips = skips and codec.codec.canonical_name in _SKIPPABLE
        missing: set[int | None] = set(wanted)  # a frame may be decoded before one that is shown earlier
        for packet in packets:
            self._check()
            self._check_known(packet)
            if skips:
                is_needed = packet.pts is None or packet.pts in wanted
                codec.skip_frame = "DEFAULT" if is_needed else "NONREF"
            yield from packet.decode()
            missing.discard(packet.pts)
            if not missing and codec.field_order in _WHOLE_PICTURES:
                self._check_rest(packets, max(wanted))
                yield from codec.decode(None)
                return

    def _check_rest(self, packets: Iterator[Packet[VideoStream]], last: int) -> None:
        """Check the packets of all frames that may appear before the one that follows the last one wanted."""
        if self._index.step is not None:
            for packet in packets:
                self._check_known(packet)
                if packet.dts is None or packet.dts > last:
                    return

    def _check_known(self, packet: Packet[VideoStream]) -> None:
        """Make sure that a header that was believed hides no frame between those it promises."""
        index = self._index
        if index.step is not None and packet.pts is not None and (packet.pts - int(index.ticks[0])) % index.step:
            raise NotThereError

    def _packets_from(self, key: int, first: int) -> Iterator[Packet[VideoStream]]:
        """Jump to a keyframe that appears at or before a frame: where the file lands too late, to an earlier one."""
        stream, back = self.video.stream, 1
        while key > 0:
            try:
                self.video.container.seek(int(self._index.keys[key]), stream=stream, backward=True)
                packets = self.video.packets()
                landed = next((packet for packet in self._checked(packets) if packet.is_keyframe), None)
            except av.FFmpegError:  # some formats cannot jump
                break
            finally:
                self._was_read = True
            if landed is not None and landed.pts is not None and landed.pts <= first:
                return chain([landed], packets)
            key, back = key - back, back * 2
        return self._from_the_beginning()

    def _checked(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        for packet in packets:
            self._check()
            yield packet

    def _from_the_beginning(self) -> Iterator[Packet[VideoStream]]:
        if self._was_read:
            self._opened.close()
            self.video = self._open()
        self._was_read = True
        return self.video.packets()

    def _open(self) -> OpenVideo:
        self._was_read = False
        video = self._opened.enter_context(open_video(self._path, self._limit))
        video.stream.thread_type = "NONE" if self._threads == 1 else "AUTO"
        video.stream.codec_context.thread_count = self._threads
        return video
