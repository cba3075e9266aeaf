"""Kills processes at random moments and makes the same call again: ``python -m tests.kills --kills 200 --seed 0``."""
