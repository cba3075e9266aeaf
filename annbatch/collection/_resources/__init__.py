"""Threads, pages, direct I/O and the memory limit of a conversion."""
