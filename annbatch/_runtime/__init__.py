"""What belongs to a process: window memory, threads, and the zarr pipeline."""
