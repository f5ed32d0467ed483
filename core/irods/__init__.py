"""The one gateway to iRODS; nothing else in this project imports python-irodsclient."""

from core.irods.annotate import AVU, Access, source_path_avu
from core.irods.append import Appended
from core.irods.compute import ComputeGateway
from core.irods.errors import Exists, Locked
from core.irods.foresee import Foresight
from core.irods.gateway import Gateway
from core.irods.gateways import Gateways
from core.irods.inspect import Stored
from core.irods.members import SmallFile
from core.irods.plain import plain_session
from core.irods.pulse import answers
from core.irods.register import Registration
from core.irods.replicas import Replica, Status
from core.irods.streams import ExtraStreams
from core.irods.targets import Server
from core.irods.verify import Verified
from core.irods.verify_many import Expected

__all__ = [
    "AVU",
    "Access",
    "Appended",
    "ComputeGateway",
    "Exists",
    "Expected",
    "ExtraStreams",
    "Foresight",
    "Gateway",
    "Gateways",
    "Locked",
    "Registration",
    "Replica",
    "Server",
    "SmallFile",
    "Status",
    "Stored",
    "Verified",
    "answers",
    "plain_session",
    "source_path_avu",
]
