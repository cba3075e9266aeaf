"""Object stores: S3, GCS, Azure and HTTP, through obstore.

``place``: how a store is opened and called, never by its secrets. ``faults``: what is worth another attempt.
``fetch``: one answer, however many attempts it takes. ``requests``: many at a time, within bounds. ``ranges``: which
bytes are asked for together. ``store``: all of it as a zarr store.
"""
