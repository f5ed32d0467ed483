"""What the calls of one connection take and how they fail, told to the metrics."""

from __future__ import annotations

import time
from collections import deque
from enum import IntEnum
from functools import cache
from typing import Any

from core import metrics
from core.irods import errors
from core.irods.messages import Api

_NO_ROWS = errors.CAT_NO_ROWS_FOUND


class _Login(IntEnum):
    """What stands in place of an API while there is no session yet."""

    CONNECT = 0


CONNECT = _Login.CONNECT
Call = Api | _Login


class Counted:
    """The requests of one connection that wait for their replies, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Api, float]] = deque()

    def sent(self, api: Api) -> None:
        """A request is on its way."""
        self._waiting.append((api, time.monotonic()))

    def answered(self, status: int) -> None:
        """The reply to the oldest request is here; a further reply to one call, as 679 has them, is not counted."""
        if not self._waiting:
            return
        api, began = self._waiting.popleft()
        _seconds(api).observe(time.monotonic() - began)
        if status < 0 and errors.nominal(status) != _NO_ROWS:
            failed(api, errors.meaning(status).name)

    def lost(self, error: str) -> None:
        """The connection is gone, and with it all replies that were waited for."""
        if self._waiting:
            failed(self._waiting[0][0], error)
        self._waiting.clear()


def connected(began: float) -> None:
    """A login has succeeded that began at this time of the monotonic clock."""
    _seconds(CONNECT).observe(time.monotonic() - began)


def failed(call: Call, error: str) -> None:
    """A call was answered by an error of this name, or not at all."""
    metrics.IRODS_ERRORS.labels(str(int(call)), call.name.lower(), error).inc()


@cache
def _seconds(call: Call) -> Any:
    return metrics.IRODS_CALL_SECONDS.labels(str(int(call)), call.name.lower())
