from __future__ import annotations

import dataclasses

import pytest
import torch
from towers import random_features

from vidzip import Budget, PackedVideo, VideoInfo, ZippedFrames, plan, zip_frames
from vidzip.errors import BadArgument, PlanMismatch
from vidzip.packing import pack_zipped

INFO = VideoInfo(path="v", duration_seconds=4.0, fps=5.0, num_frames=20, identity="abc")


def packed(frames=4, total=18, size=9, **features):
    planned = plan(INFO, Budget(total_tokens=total, num_frames=frames), size)
    zipped = zip_frames(random_features(frames, size, **features), planned.tokens_per_frame)
    return pack_zipped(zipped, planned, timestamps_seconds=(0.4, 1.4, 2.4, 3.4), method="visionzip", tower="t")


def test_counts():
    video = packed()
    assert (video.num_tokens, video.num_frames, video.uncompressed_tokens) == (18, 4, 36)
    assert video.warnings == video.plan.warnings == ()


def test_the_provenance_of_every_token():
    video = packed()
    seen = []
    for token in range(video.num_tokens):
        origin = video.provenance(token)
        assert origin.frame == video.frame_of[token]
        assert origin.timestamp_seconds == (0.4, 1.4, 2.4, 3.4)[origin.frame]
        assert origin.anchor in origin.patches
        seen += [(origin.frame, patch) for patch in origin.patches]
    assert len(seen) == len(set(seen)) == int((video.source >= 0).sum())


def test_an_anchor_is_cls_or_a_patch_with_its_row_and_column():
    origins = [packed(grid=(2, 4)).provenance(token) for token in range(18)]
    assert (origins[0].anchor, origins[0].is_cls, origins[0].row, origins[0].column) == (0, True, None, None)
    for origin in origins:
        assert origin.is_cls == (origin.anchor == 0)
        assert origin.is_cls or 1 + 4 * origin.row + origin.column == origin.anchor
    without = [packed(has_cls=False, size=8, grid=(2, 4)).provenance(token) for token in range(18)]
    assert all(4 * origin.row + origin.column == origin.anchor for origin in without)


def test_an_unknown_token_is_refused():
    with pytest.raises(BadArgument, match="token 18 of 18"):
        packed().provenance(18)


def test_numbers_other_than_the_plans_are_refused():
    video = packed()
    with pytest.raises(PlanMismatch, match="17 visual tokens for a plan of 18"):
        dataclasses.replace(video, tokens=video.tokens[:-1])
    with pytest.raises(PlanMismatch, match="19 visual tokens"):
        dataclasses.replace(video, tokens=torch.cat([video.tokens, video.tokens[:1]]))
    with pytest.raises(PlanMismatch, match="3 timestamps for a plan of 4 frames"):
        dataclasses.replace(video, timestamps_seconds=(0.0, 1.0, 2.0))


def packed_across(tmp_path):
    """Four frames of nine tokens: the second keeps none, and its patches are merged into the first and the third."""
    features = random_features(4, 9)
    source = torch.full((4, 9), -1)
    source[0, :3], source[1, 3:5], source[2, 4:6], source[3, 0] = torch.tensor([0, 1, 1]), 1, torch.tensor([2, 3]), 4
    source[1, 7] = 2
    zipped = ZippedFrames(
        tokens=features.tokens[[0, 0, 2, 2, 3], [0, 1, 4, 5, 0]],
        frame_of=torch.tensor([0, 0, 2, 2, 3]),
        anchor_of=torch.tensor([0, 1, 4, 5, 0]),
        source=source.flatten(),
        grids=features.grids,
        has_cls=True,
    )
    planned = plan(INFO, Budget(total_tokens=5, num_frames=4), 9)
    video = pack_zipped(zipped, planned, timestamps_seconds=(0.4, 1.4, 2.4, 3.4), method="across", tower="t")
    video.save(tmp_path / "across.vidzip", dtype=torch.float32)
    return video, PackedVideo.load(tmp_path / "across.vidzip")


def test_the_counts_of_frames_may_differ_from_the_plans(tmp_path):
    for video in packed_across(tmp_path):
        assert video.plan.tokens_per_frame == (1, 1, 1, 2)
        assert video.tokens_per_frame == (2, 0, 2, 1)
    assert packed().tokens_per_frame == packed().plan.tokens_per_frame == (4, 5, 4, 5)


def test_provenance_across_frames(tmp_path):
    for video in packed_across(tmp_path):
        origins = [video.provenance(token) for token in range(5)]
        assert [origin.patches for origin in origins] == [(0,), (1, 2), (4,), (5,), (0,)]
        assert [origin.elsewhere for origin in origins] == [(), ((1, 3), (1, 4)), ((1, 7),), (), ()]


def test_frames_of_different_grids_are_packed_and_saved(tmp_path):
    runs = [
        random_features(1, 13, grid=(3, 4)),
        random_features(2, 7, grid=(3, 2)),
        random_features(1, 13, grid=(4, 3)),
    ]
    planned = plan(INFO, Budget(total_tokens=18, num_frames=4), 13)
    zipped = zip_frames(runs, planned.tokens_per_frame)
    video = pack_zipped(zipped, planned, timestamps_seconds=(0.4, 1.4, 2.4, 3.4), method="visionzip", tower="t")
    video.save(tmp_path / "ragged.vidzip")
    for one in (video, PackedVideo.load(tmp_path / "ragged.vidzip")):
        assert one.grids == ((3, 4), (3, 2), (3, 2), (4, 3))
        assert (one.uncompressed_tokens, [len(one.source_of(frame)) for frame in range(4)]) == (40, [13, 7, 7, 13])
        for token in range(18):
            origin = one.provenance(token)
            columns = one.grids[origin.frame][1]
            assert origin.is_cls or 1 + columns * origin.row + origin.column == origin.anchor
            assert one.source_of(origin.frame)[origin.anchor] == token
