"""Text files that a person names."""

from __future__ import annotations

from pathlib import Path

from core.errors import UsageError


def read_text(file: Path, hint: str) -> str:
    """The whole of a UTF-8 file. Raises UsageError, with `hint` when it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8", "save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint) from None
