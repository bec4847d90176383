"""`python -m dvs_transfer`: the same as the command `dvs-transfer`."""

from .cli import main

if __name__ == "__main__":
    main()
