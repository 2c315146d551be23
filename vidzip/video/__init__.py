"""Video files: probing, sampling of timestamps, decoding and writing.

The only package in vidzip that imports a decoder. Its modules import decoders where they need them, so that importing
the package, or what the planner uses of it, loads none.
"""
