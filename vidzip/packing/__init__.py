"""Packed videos: kept tokens as one sequence within a budget, each with its provenance; in memory and as a file."""

from vidzip.packing.files import SUFFIX, check_place, is_pack
from vidzip.packing.packed import PackedVideo, Provenance, check_token_count, pack_zipped

__all__ = ["SUFFIX", "PackedVideo", "Provenance", "check_place", "check_token_count", "is_pack", "pack_zipped"]
