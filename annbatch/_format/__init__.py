"""How arrays lie on disk.

``layout``: chunks in files, from zarr's metadata. ``shard_index``: where chunks lie in a shard. ``attributes``: what
this package adds to the metadata.
"""
