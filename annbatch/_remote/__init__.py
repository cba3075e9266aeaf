"""Object stores (S3, GCS, Azure, HTTP) as zarr stores, through obstore.

``urls``: open a store by its URL, and show it without secrets. ``open``: open the zarr group at a URL. ``store``:
``RemoteStore``, a zarr store that retries, counts and bounds its requests. ``loader_stores``: the stores that one
loader reads from. ``requests``: many requests at a time, within bounds. ``fetch``: one request, with its retries.
``faults``: which errors are worth a retry. ``shard_indexes``: where chunks lie in their shards. ``cache``: chunks on
the local disk.
"""
