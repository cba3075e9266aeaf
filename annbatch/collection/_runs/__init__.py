"""One call that writes, start to end.

``add`` carries out a call that changes a collection, on the arguments in ``request``; ``call_identity`` tells whether a
killed call is made again. ``build`` runs the passes in a local folder, ``cluster`` on Dask workers, ``upload`` for
object stores, ``h5ad`` for folders of h5ad files; ``sharded`` writes one AnnData object without shuffling.
"""
