"""What only vidzip's makers run: training of ``tiny``, and scripts that print the tables of README.md and docs/."""
