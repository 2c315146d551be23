"""Batch video QA: many questions about many videos, in runs that survive what happens to them."""
