"""Measurement: datasets, judges, metrics, statistics, reports. It knows answers, not models."""
