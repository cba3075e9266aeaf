"""Benchmarks of annbatch: ``python -m benchmarks``."""
