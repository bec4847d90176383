"""Recordings become frames, and photos images with their V channel."""

from typing import Final

VERSION: Final = "1"
"""To be raised when a recording or a photo gives another output than before: what was made with it is then made again.
`tests/test_output_versions.py` says when."""
