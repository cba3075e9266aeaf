"""Plans in integers only, without I/O, so that properties can be tested.

``window_rows``: the rows of a window, and which dataset holds each. ``pieces``: ranges to copy, and their places in a
window. ``ranges``: ranges of integers. ``requests``: which byte ranges are read together. ``position``: how far an
epoch has come, and who reads the remaining batches.
"""
