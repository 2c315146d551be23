"""``vidzip plan``: what a budget buys of a video, or of a folder of them, and what that costs."""
