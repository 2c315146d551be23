"""The commands of ``vidzip``, one file each."""
