"""The family of exceptions that a user may see. Each message says what was expected, found, where, and what to do."""

import shlex


def command_line(*words: object) -> str:
    """A command of `dvs-transfer` that can be pasted into a shell, whatever the names in it."""
    return shlex.join(["dvs-transfer", *map(str, words)])


class DvsTransferError(Exception):
    """Base of every error that is the input's or the environment's fault, not a bug.

    exit_code: what the command line leaves with.
    """

    exit_code = 1


class StoreError(DvsTransferError):
    """A store is missing, incomplete, damaged, or of another schema."""


class AddressError(DvsTransferError):
    """An address cannot be reached, or refuses access: what lies there is not known, and is not called missing."""


class SourceError(DvsTransferError):
    """Raw data are missing or broken. The message names the file, and the byte offset where there is one."""


class ConfigError(DvsTransferError):
    """A configuration cannot be used; every problem is listed in one message."""

    exit_code = 2


class TrainingError(DvsTransferError):
    """A training or evaluation run cannot start or go on."""


def is_out_of_memory(error: BaseException) -> bool:
    """Python's error, or torch's: of a GPU, or of the processor, which is any RuntimeError. Torch is not imported."""
    is_torchs = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or is_torchs
