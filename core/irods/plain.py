"""A session of python-irodsclient's own, for event handlers: they were written for it."""

from __future__ import annotations

from typing import Any

from irods.pool import Pool
from irods.session import iRODSSession

from core.irods.environment import read_account
from core.irods.session import APPLICATION
from core.settings import IrodsSettings


def plain_session(settings: IrodsSettings, as_user: tuple[str, str] | None = None) -> Any:
    """An iRODSSession that logs in as a gateway does; it connects when it is first used.

    `as_user` is a name and a zone. Raises UsageError when the environment or the password cannot be read.
    """
    account = read_account(settings, as_user)
    session = iRODSSession(configure=False)
    session.pool = Pool(account, application_name=APPLICATION, session=session)
    session.pool.connection_timeout = settings.timeout_seconds
    return session
