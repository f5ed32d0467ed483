"""What all verbs of a gateway need: one connection, who we are on it, and where our own tars lie."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType
from typing import Self

from core.irods import collections, targets
from core.irods.features import Features
from core.irods.session import Session
from core.irods.zone import Zone
from core.settings import IrodsSettings

STAGING = ".ingest_staging"


class LoggedIn:
    """One connection to iRODS; for one thread, made after fork."""

    def __init__(self, settings: IrodsSettings, *, as_user: tuple[str, str] | None = None) -> None:
        """Reads environment file and password (`UsageError` when they are missing); connects at the first verb.

        With `as_user` (name, zone, '' for the zone of who logs in) all is done for that user, instead of the one of the
        settings; who logs in must be a rodsadmin then.
        """
        self._settings = settings
        self._session = Session(settings, as_user)
        self._features = Features(settings)
        self._zone = Zone(self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later verb connects again."""
        self._session.close()

    @property
    def where(self) -> str:
        """host:port of the server."""
        return self._session.where

    @property
    def connects(self) -> int:
        """How many connections have been made so far."""
        return self._session.connects

    @cached_property
    def staging(self) -> str:
        """The collection where tars are for a moment, below the user's home; it need not exist yet."""
        return f"/{self._session.zone}/home/{self._session.user}/{STAGING}"

    @cached_property
    def _staging(self) -> str:
        """The same, made."""
        collections.make(self._session, self.staging, set())
        return self.staging

    @cached_property
    def _is_admin(self) -> bool:
        return targets.is_admin(self._session)
