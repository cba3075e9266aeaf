"""Plans in integers only: no I/O, so that properties can be tested."""
