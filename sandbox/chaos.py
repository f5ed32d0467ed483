"""What can happen to an installation, at random from a seed: pods killed, frozen and stopped, servers restarted, faults.

Each blow is one thing that happens to real installations. What was broken for a while is mended by the same object, later:
`step` is to be called again and again, in the main thread, and `rest` at the end mends everything.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.postgres import EmbeddedPostgres
from sandbox.processes import Crew, Process

# put, open, write, close, checksum, make collection, unpack, pack, bulk modify, query
APIS = (606, 602, 676, 673, 629, 681, 665, 666, 688, 702)

PATIENCE = 30.0
"""How long a server may take to end."""


@dataclass
class Chaos:
    """Random blows to pods, Postgres and the sandbox iRODS."""

    pods: Crew
    irods: Crew
    postgres: EmbeddedPostgres
    faults: Path | None
    """Where the sandbox iRODS reads its faults from; None for a real server, which is left alone."""
    lease_seconds: float
    generator: random.Random
    pause_seconds: float = 0.7
    """Between two blows, on average."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each kind of blow was dealt."""
    _due: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    _frozen: set[str] = field(default_factory=set)
    _next: float = 0.0

    def step(self) -> None:
        """Mend what is due and perhaps deal a blow."""
        self._mend(lambda due: due <= time.monotonic())
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.generator.expovariate(1 / self.pause_seconds)
        blows = {
            "kill": (self._kill, 30),
            "stop": (self._stop, 12),
            "stop twice": (self._stop_twice, 6),
            "freeze beyond the lease": (self._freeze_long, 8),
            "freeze": (self._freeze_short, 6),
            "restart Postgres at once": (self._restart_postgres, 4),
            "kill Postgres": (self._kill_postgres, 3),
            "Postgres away": (self._postgres_away, 2),
            "kill iRODS": (self._kill_irods, 4),
            "iRODS away": (self._irods_away, 2),
            "fault": (self._fault, 20),
        }
        [name] = self.generator.choices(list(blows), [weight for _, weight in blows.values()])
        if blows[name][0]():
            self.done[name] += 1

    def rest(self) -> None:
        """Mend everything."""
        self._mend(lambda _: True)

    @property
    def kills(self) -> int:
        """Blows that ended or froze a process."""
        return sum(count for name, count in self.done.items() if name != "fault")

    def _mend(self, is_due: Callable[[float], bool]) -> None:
        due = [one for one in self._due if is_due(one[0])]
        self._due = [one for one in self._due if one not in due]
        for _, mend in sorted(due, key=lambda one: one[0]):
            mend()
        for process in [*self.pods.mend(), *self.irods.mend()]:
            self._frozen.discard(process.name)

    def _later(self, seconds: float, mend: Callable[[], object]) -> None:
        self._due.append((time.monotonic() + seconds, mend))

    def _victim(self) -> Process | None:
        awake = [pod for pod in self.pods.processes if pod.alive and pod.name not in self._frozen]
        return self.generator.choice(awake) if awake else None

    def _signal(self, number: int) -> Process | None:
        victim = self._victim()
        if victim is not None and victim.running is not None:
            victim.running.send_signal(number)
        return victim

    def _kill(self) -> bool:
        return self._signal(signal.SIGKILL) is not None

    def _stop(self) -> bool:
        return self._signal(signal.SIGTERM) is not None

    def _stop_twice(self) -> bool:
        victim = self._signal(signal.SIGTERM)
        if victim is not None and victim.running is not None:
            self._later(self.generator.uniform(0, 0.5), lambda: _send(victim, signal.SIGTERM))
        return victim is not None

    def _freeze(self, seconds: float) -> bool:
        victim = self._signal(signal.SIGSTOP)
        if victim is None:
            return False
        self._frozen.add(victim.name)

        def thaw() -> None:
            self._frozen.discard(victim.name)
            _send(victim, signal.SIGCONT)

        self._later(seconds, thaw)
        return True

    def _freeze_long(self) -> bool:
        return self._freeze(self.lease_seconds * self.generator.uniform(1.2, 2.5))

    def _freeze_short(self) -> bool:
        return self._freeze(self.lease_seconds * self.generator.uniform(0.1, 0.6))

    def _restart_postgres(self) -> bool:
        return self._end_postgres(signal.SIGQUIT, 0)

    def _kill_postgres(self) -> bool:
        return self._end_postgres(signal.SIGKILL, 0)

    def _postgres_away(self) -> bool:
        return self._end_postgres(signal.SIGINT, self.generator.uniform(1, 2 * self.lease_seconds))

    def _end_postgres(self, number: int, seconds: float) -> bool:
        process = self.postgres.process
        if process is None or process.poll() is not None:
            return False
        process.send_signal(number)
        process.wait(PATIENCE)
        self._later(seconds, self.postgres.start)
        return True

    def _kill_irods(self) -> bool:
        return any(_send(server, signal.SIGKILL) for server in self.irods.processes)

    def _irods_away(self) -> bool:
        if not self.irods.processes:
            return False
        server = self.irods.processes.pop()
        _send(server, signal.SIGTERM)

        def back() -> None:
            if server.running is not None:
                server.running.wait(PATIENCE)
            self.irods.start(server)

        self._later(self.generator.uniform(1, 2 * self.lease_seconds), back)
        return True

    def _fault(self) -> bool:
        if self.faults is None:
            return False
        pick = self.generator.choice
        chosen: dict[str, Any] = pick(
            [
                {"kind": "drop_before", "api": pick(APIS), "count": pick([1, 5])},
                {"kind": "drop_after", "api": pick(APIS), "count": pick([1, 5])},
                {"kind": "slow", "api": pick(APIS), "seconds": 0.5, "count": 20},
                {"kind": "slow_reply", "api": pick(APIS), "seconds": 0.5, "count": 20},
                {"kind": "hang", "api": pick(APIS), "count": pick([1, 3])},
                {"kind": "error", "api": pick(APIS), "code": -806000, "count": pick([1, 5])},
                {"kind": "truncate", "count": 1},
                {"kind": "refuse"},
            ]
        )
        self._write_faults([chosen])
        self._later(self.generator.uniform(0.5, 3), lambda: self._write_faults([]))
        return True

    def _write_faults(self, faults: list[dict[str, Any]]) -> None:
        assert self.faults is not None
        part = self.faults.with_suffix(".part")
        part.write_text(json.dumps(faults))
        os.replace(part, self.faults)


def _send(process: Process, number: int) -> bool:
    """Send a signal to a process that may have ended."""
    if process.running is None or not process.alive:
        return False
    process.running.send_signal(number)
    return True
