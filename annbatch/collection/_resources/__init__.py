"""Resources of a conversion: ``threads``, ``pages`` of memory, ``direct_io`` past the page cache, memory ``limit``."""
