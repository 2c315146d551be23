"""Scoring, judging, comparing and reporting runs, from their folders."""
