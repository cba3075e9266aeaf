"""What belongs to a process.

``buffers``: memory for windows, reused. ``threads``: how many, and whether a fork lost them. ``zarrs``: arrays written
by zarrs.
"""
