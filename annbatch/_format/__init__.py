"""How arrays lie on disk: chunk layouts, shard indexes, and the attributes that this package adds."""
