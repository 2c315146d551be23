"""Scoring runs: judges asked, metrics taken, runs compared."""
