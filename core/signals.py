"""Two-phase stop: the first SIGTERM or SIGINT asks, the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


class Stop(threading.Event):
    """Set when this process has been asked to stop."""

    def install(self) -> Stop:
        """Listen to SIGTERM and SIGINT from now on; to be called in the main thread."""
        signal.signal(signal.SIGTERM, self._asked)
        signal.signal(signal.SIGINT, self._asked)
        return self

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        if self.is_set():
            # what is claimed is given to others when the lease runs out; nothing is lost by not saying goodbye
            os._exit(128 + number)
        self.set()
