"""Resources of a conversion: ``threads``, ``pages`` of memory, ``direct_io`` to files, the memory ``limit``."""
