"""Formats of binary words, decoded in this process by numba kernels over blocks of bytes; one file each."""
