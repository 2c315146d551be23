"""Training of ``tiny``, the small Video-LLaVA that ships with vidzip."""
