"""Where a command writes what is too long for a screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from core.errors import UsageError


@contextmanager
def written(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that gets its name once it is whole. Raises UsageError where it cannot be written."""
    if output is None:
        yield sys.stdout
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    except OSError as problem:
        raise UsageError(f"cannot write {output}: {problem.strerror}", "choose another --output") from problem
    finally:
        part.unlink(missing_ok=True)
