"""`python -m dvs_transfer`: the same as the command `dvs-transfer`, with its exit code; what `torchrun -m` starts."""

import sys

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
