"""AnnData and MuData objects, in memory, lazy or stored: which elements they hold, and their annotations by rows."""
