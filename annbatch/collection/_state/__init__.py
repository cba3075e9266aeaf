"""A collection on disk: where it is, what it records of itself, and work in progress.

``location`` finds a collection and replaces its root metadata; ``manifest`` is what these record. ``files`` reads its
files, wherever they are, and ``verify`` compares them with their checksums. ``work`` is the folder from which an
interrupted call resumes.
"""
