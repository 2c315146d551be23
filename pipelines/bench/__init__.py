"""``vidzip bench``: time and memory of each stage, for vidzip, VisionZip as published, and uncompressed frames."""
