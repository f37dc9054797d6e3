"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from holter_host.errors import BadInputError, HolterError

_OF_THE_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file beside `target` that takes its place, durably, when the block ends well.

    Raises:
        BadInputError: it cannot be written there; `target` is what it was.
        HolterError: the disk is full, or fails; `target` is what it was.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def cannot_write(target: Path, error: OSError) -> HolterError:
    """What to raise: a BadInputError where another name or place would do, else a HolterError."""
    kind = HolterError if error.errno in _OF_THE_DISK else BadInputError
    return kind(f"Cannot write {target}: {error.strerror or error}.")
