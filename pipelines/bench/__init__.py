"""The bench: what each stage takes, of the model's own path, of the published way, and of this one."""
