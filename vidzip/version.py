"""The version of vidzip."""

__version__ = "0.1.0"
