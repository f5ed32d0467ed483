"""The one gateway to iRODS; nothing else in this project imports python-irodsclient."""

from core.irods.bundle import SmallFile
from core.irods.errors import Exists, Locked
from core.irods.gateway import Gateway
from core.irods.pack import Expected
from core.irods.register import Registration
from core.irods.replicas import Replica, Status
from core.irods.targets import Server
from core.irods.verify import Verified

__all__ = [
    "Exists",
    "Expected",
    "Gateway",
    "Locked",
    "Registration",
    "Replica",
    "Server",
    "SmallFile",
    "Status",
    "Verified",
]
