"""Between the passes: the global order of rows, and how rows reach it."""
