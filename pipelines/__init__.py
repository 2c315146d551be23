"""What people run: the command line and all that composes vidzip and eval."""
