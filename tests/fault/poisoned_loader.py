"""A loader that dies at once when it begins the file `poison`, as one does whose memory a file exhausts."""

from __future__ import annotations

import os
import sys
import threading

from core.worker import Report, Unit
from inventory import pod
from inventory.claims import ClaimedFile
from inventory.connected import Connected
from loader.stage import Item, LoadStage


class PoisonedStage(LoadStage):
    def run(self, unit: Unit[Item], report: Report[Item], stopping: threading.Event) -> None:
        if any(isinstance(item, ClaimedFile) and item.name == "poison" for item in unit):
            os._exit(137)
        super().run(unit, report, stopping)


if __name__ == "__main__":
    sys.exit(pod.run("loader", lambda member: Connected(member, PoisonedStage(member), member.settings.loader.batch)))
