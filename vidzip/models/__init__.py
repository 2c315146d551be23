"""Video LLMs: loaded, shown a packed video, and asked."""

from vidzip.models.loading import BUILT_IN, load
from vidzip.models.session import Answer, Chat, Session
from vidzip.models.video_llava import VideoLlava

__all__ = ["BUILT_IN", "Answer", "Chat", "Session", "VideoLlava", "load"]
