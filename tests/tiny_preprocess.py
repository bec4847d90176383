"""What `tiny` holds, under the name that some tests still use."""

from tiny import *  # noqa: F403
