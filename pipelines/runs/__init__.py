"""Runs of question sets: many questions about many videos, in runs that resume after any interruption."""
