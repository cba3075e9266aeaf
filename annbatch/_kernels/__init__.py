"""All compiled code: numba kernels, and the C functions that they call."""
