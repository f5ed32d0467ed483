"""Whether iRODS answers, asked again and again: what makes a loader or verifier ready."""

from __future__ import annotations

import threading

import structlog

from core.errors import IngestError
from core.irods.session import Session
from core.metrics import Probes
from core.settings import IrodsSettings

ASKS = 4
"""So often within the patience of the probes."""
SERVICE = "irods"
log = structlog.get_logger()


def answers(settings: IrodsSettings) -> bool:
    """Whether iRODS lets us log in now, over a connection that lives for a moment."""
    session = Session(settings)
    try:
        _ = session.version
    except IngestError:
        return False
    finally:
        session.close()
    return True


class Pulse:
    """Connects now and then, and tells the probes when that succeeded; a pod is ready only while it does.

    A login says more than a port that is open, and it is made anew each time: an old connection may outlive what new ones find
    broken. It is the only connection beyond those that are granted, and it lives for a moment.
    """

    def __init__(self, settings: IrodsSettings, probes: Probes, patience_seconds: float) -> None:
        """Raises UsageError when environment or password of `settings` cannot be read."""
        self._session = Session(settings)
        self._probes = probes
        self._seconds = patience_seconds / ASKS
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="irods-pulse", daemon=True)

    def start(self) -> None:
        """Ask from now on; until the first answer the pod is not ready."""
        self._probes.failed(SERVICE)
        self._thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _beat(self) -> None:
        wait = 0.0
        while not self._ended.wait(wait):
            wait = self._seconds if self._answers() else min(self._seconds, 5.0)

    def _answers(self) -> bool:
        try:
            _ = self._session.version
        except IngestError:
            return False  # the loop says so where there is work, once
        except Exception as error:  # noqa: BLE001  # a probe that ends by a defect would look like an outage for ever
            log.error("irods_pulse_failed", error=type(error).__name__, reason=str(error))
            return False
        finally:
            self._session.close()
        self._probes.answered(SERVICE)
        return True
