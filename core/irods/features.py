"""Which fast ways may be used: those the settings allow, less those that the server was seen to refuse."""

from __future__ import annotations

from core import metrics
from core.errors import FileError
from core.settings import IrodsSettings

BULK_REGISTER = "bulk_register"
"""619: registrations in a row, without waiting for each."""
TRANSACTION = "transaction"
"""619 with one commit (718) for many; for rodsadmins."""
BUNDLE = "bundle"
"""665: a tar unpacked on the server."""
VAULT_WRITE = "vault_write"
"""518: small files written straight into the vault, and registered by 688; for rodsadmins."""
PACK = "pack"
"""666: a collection packed on the server."""

REGISTER = "register"
"""20008, else 630: one registration a call."""
BULK_CHECKSUMS = "bulk_checksums"
"""688: checksums set in the catalogue for 50 replicas at once."""
OPTIONAL = frozenset({BULK_REGISTER, TRANSACTION, BUNDLE, VAULT_WRITE, PACK})
"""Ways that the settings can forbid."""

REFUSALS = frozenset(
    {
        "SYS_NO_API_PRIV",
        "CAT_INSUFFICIENT_PRIVILEGE_LEVEL",
        "SYS_UNMATCHED_API_NUM",
        "SYS_NOT_SUPPORTED",
        "PATH_REG_NOT_ALLOWED",
    }
)
"""Answers that mean a call, not what it was asked to do."""


class Features:
    """What one gateway uses; it forgets a way for good when the server says that it has no such call or right."""

    def __init__(self, settings: IrodsSettings) -> None:
        self._allowed = {BULK_REGISTER, TRANSACTION} if settings.bulk_registration else set()
        if settings.bundles:
            self._allowed |= {BUNDLE, PACK} | ({VAULT_WRITE} if settings.vault_writes else set())
        self.refusals: dict[str, str] = {}
        """Why a way that was allowed is not used any more."""
        for name in OPTIONAL:
            metrics.IRODS_FEATURE.labels(name).set(name in self._allowed)

    def __contains__(self, name: str) -> bool:
        return name in self._allowed

    def names(self) -> frozenset[str]:
        """The ways in use."""
        return frozenset(self._allowed)

    def refused(self, name: str, problem: FileError) -> None:
        """Note how the server answered a way; one that it does not know or not allow is not tried again."""
        if problem.error in REFUSALS and name in self._allowed:
            self._allowed.discard(name)
            metrics.IRODS_FEATURE.labels(name).set(0)
            self.refusals[name] = f"refused by the server: {problem}"
