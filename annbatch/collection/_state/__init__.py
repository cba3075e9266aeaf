"""The collection on disk: location, manifest, files, resumable work, verification."""
