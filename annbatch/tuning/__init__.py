"""Measure a store and choose a loader's settings."""
