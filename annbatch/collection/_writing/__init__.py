"""Second pass, out: datasets, arrays and tables."""
