"""Tokens that PAM logins have brought: with one the next connections of this process log in natively, until it expires."""

from __future__ import annotations

import copy
import hashlib
import threading
from typing import Any

Key = tuple[str, int, str, str, bytes]

_lock = threading.Lock()
_tokens: dict[Key, str] = {}


def with_token(account: Any) -> Any | None:
    """The account of a PAM login as one that logs in with a token; None where none is known.

    A password that has rotated has no token yet, so that it is asked for once.
    """
    with _lock:
        token = _tokens.get(_key(account)) if _by_pam(account) else None
    if token is None:
        return None
    native = copy.copy(account)
    # the second is what python-irodsclient logs in by
    native.authentication_scheme = native._original_authentication_scheme = "native"
    native.password = token
    return native


def keep(account: Any, token: str) -> None:
    """Remember what a PAM login with this account brought; nothing where it was no PAM login."""
    if token and _by_pam(account):
        with _lock:
            _tokens[_key(account)] = token


def forget(account: Any, token: str) -> None:
    """A token was refused: it has expired. A newer one stays."""
    with _lock:
        if _tokens.get(_key(account)) == token:
            del _tokens[_key(account)]


def _by_pam(account: Any) -> bool:
    return bool(account._original_authentication_scheme == "pam_password" and account.password)


def _key(account: Any) -> Key:
    password = hashlib.sha256(account.password.encode()).digest()
    return account.host, account.port, account.proxy_user, account.proxy_zone, password
