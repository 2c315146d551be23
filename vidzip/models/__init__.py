"""Video LLMs: loading, packing videos for them, and asking them."""

from vidzip.models.language import Answer
from vidzip.models.loading import BUILT_IN, load
from vidzip.models.model import VideoModel
from vidzip.models.session import Chat, Session

__all__ = ["BUILT_IN", "Answer", "Chat", "Session", "VideoModel", "load"]
