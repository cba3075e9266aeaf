"""The schema of a collection: settled before any work is done.

``survey``: inputs are opened and compared. ``schema``: elements, dtypes, rows. ``variables`` and ``names``: joined
variables. ``conform``: blocks of an input made to fit the schema.
"""
