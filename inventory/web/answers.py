"""What every answer has in common."""

from __future__ import annotations

from starlette.responses import JSONResponse


def problem(status: int, error: str, hint: str = "") -> JSONResponse:
    """An error: what is wrong and what to do."""
    return JSONResponse({"error": error, "hint": hint}, status_code=status)
