"""The schema of a collection, settled before any rows are converted.

``survey`` opens and compares all inputs; ``schema`` settles elements and dtypes, ``variables`` the columns, ``names``
unique names of rows. ``conform`` reads rows of an input as rows of the collection.
"""
