"""Which connection may write a replica that is being written."""

from __future__ import annotations

import threading
import uuid

from sandbox.irods.errors import Code, IrodsError


class Tokens:
    """Replica access tokens: who may write a replica that is being written (iRODS' replica access table)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, int, set[int]]] = {}

    def issue(self, agent: object, data_id: int, number: int) -> str:
        """A new token, held by this agent; SYS_INTERNAL_ERR if the replica has one already."""
        with self._lock:
            if any(held[:2] == (data_id, number) for held in self._held.values()):
                raise IrodsError(Code.SYS_INTERNAL_ERR)
            token = str(uuid.uuid4())
            self._held[token] = (data_id, number, {id(agent)})
            return token

    def join(self, agent: object, token: str, data_id: int, number: int) -> bool:
        """Whether the token is good for this replica; the agent then holds it too."""
        with self._lock:
            held = self._held.get(token)
            if held is None or held[:2] != (data_id, number):
                return False
            held[2].add(id(agent))
            return True

    def knows(self, token: str, data_id: int, number: int) -> bool:
        """Whether the token is good for this replica."""
        held = self._held.get(token)
        return held is not None and held[:2] == (data_id, number)

    def release(self, agent: object, token: str) -> None:
        """The agent lets go of a token; the last one ends it."""
        with self._lock:
            held = self._held.get(token)
            if held is not None:
                held[2].discard(id(agent))
                if not held[2]:
                    del self._held[token]

    def forget(self, agent: object) -> None:
        """The agent is gone."""
        for token in list(self._held):
            self.release(agent, token)
