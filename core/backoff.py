"""Waiting longer after each failure of a service, and not at all after a success."""

from __future__ import annotations

import random
import time
from collections.abc import Callable


class Breaker:
    """Holds work back while a service is away: 1, 2, 4 … `longest_seconds`, each 10 % either way.

    `clock` gives seconds that only grow.
    """

    def __init__(self, longest_seconds: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest = longest_seconds
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether work is to be held back now."""
        return self._clock() < self._until

    @property
    def is_suspicious(self) -> bool:
        """Whether the last thing heard of the service was a failure: try with little."""
        return self._failures > 0

    def failed(self) -> float:
        """Note a failure and return for how many seconds work is held back. Failures while open count once."""
        if not self.is_open:
            wait = min(self._longest, 2.0 ** min(self._failures, 16)) * random.uniform(0.9, 1.1)
            self._failures += 1
            self._until = self._clock() + wait
        return self._until - self._clock()

    def succeeded(self) -> None:
        """Note a success: the service is back."""
        self._failures = 0
        self._until = 0.0
