"""The second pass, out: datasets as valid AnnData groups in zarr v3.

``dataset`` writes one dataset, ``arrays`` its matrices shard by shard, ``tables`` its data frames.
"""
