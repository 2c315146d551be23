"""Training ``tiny``: footage of made-up scenes, the tower, then the language model."""
