"""First pass, in: what the input files hold, opened and read by rows."""
