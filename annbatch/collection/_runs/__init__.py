"""One conversion, start to end."""
