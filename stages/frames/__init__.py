"""Recordings to frames, images to their V channel: counting kernels, resize, storage types, HSV."""
