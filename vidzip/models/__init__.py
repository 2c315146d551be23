"""Video LLMs: loaded, shown a packed video, and asked."""

from vidzip.models.loading import BUILT_IN, load
from vidzip.models.video_llava import Answer, VideoLlava

__all__ = ["BUILT_IN", "Answer", "VideoLlava", "load"]
