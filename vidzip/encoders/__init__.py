"""Vision towers: pictures prepared for them, and what they say, observed through hooks."""

from vidzip.encoders.observing import Observation, observe, tap
from vidzip.encoders.preprocessing import Preprocessor

__all__ = ["Observation", "Preprocessor", "observe", "tap"]
