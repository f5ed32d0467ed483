"""Asking a server which fast calls it has and lets us make, without changing anything.

Each call is made for a collection that does not exist. A server that has the call, and lets this user make it, gets as
far as missing the collection; one that does not refuses the call itself.
"""

from __future__ import annotations

import uuid
from contextlib import nullcontext

from core.errors import FileError, Outage
from core.irods import errors, features, messages, tars, vault
from core.irods.features import Features
from core.irods.messages import Api, Packable
from core.irods.register import BulkRow, bulk_request
from core.irods.session import EVERYTHING, Session

AVAILABLE = "available"
FORBIDDEN = "forbidden by the settings"
_LEAKS = frozenset({Api.STRUCT_FILE_EXT_AND_REG, Api.STRUCT_FILE_BUNDLE})
"""Calls of which the server leaks a descriptor each."""


def probe(session: Session, available: Features) -> dict[str, str]:
    """What can be said of each way: available, forbidden by the settings, or refused by the server with its reason."""
    found: dict[str, str] = {}
    for name, api, message in _requests(session):
        if name in features.OPTIONAL and name not in available:
            found[name] = available.refusals.get(name, FORBIDDEN)
        elif found.get(name, AVAILABLE) == AVAILABLE:
            # a way of several calls is open when each is
            found[name] = _ask(session, api, message)
    return found


def _requests(session: Session) -> list[tuple[str, Api, Packable]]:
    absent = f"/{session.zone}/home/{session.user}/.ingest_probe_{uuid.uuid4().hex}"
    row = BulkRow(f"{absent}/f", "/nowhere", 0, None)
    info = messages.data_object_info(session.version, objPath=row.path, filePath=row.physical_path, dataType="generic")
    register = messages.data_object(row.path, {"filePath": row.physical_path, "dataSize": "0"})
    archive = messages.struct_file(f"{absent}/f.tar", absent, {"dataType": tars.DATA_TYPE})
    unpack = messages.struct_file(f"{absent}/f.tar", absent, {"dataType": tars.DATA_TYPE, "bulkOpr": ""})
    return [
        (features.BULK_REGISTER, Api.REG_DATA_OBJ, info),
        (features.TRANSACTION, Api.END_TRANSACTION, messages.end_transaction("rollback")),
        (features.REGISTER, Api.REGISTER_PHYSICAL_PATH, register),
        (features.BULK_CHECKSUMS, Api.BULK_DATA_OBJ_REG, bulk_request("modify", [row], "", 0)),
        (features.BUNDLE, Api.STRUCT_FILE_EXT_AND_REG, unpack),
        (features.VAULT_WRITE, Api.FILE_PUT, vault.write_request(row.path, row.physical_path, 0, "ingest_probe")),
        (features.PACK, Api.STRUCT_FILE_BUNDLE, archive),
    ]


def _ask(session: Session, api: Api, message: Packable) -> str:
    try:
        with session.last_words() if api in _LEAKS else nullcontext():
            reply = session.call(api, message, accept=EVERYTHING)
    except Outage:
        raise
    except FileError as problem:
        return f"refused by the server: {problem}"
    answer = errors.error_for(reply.status)
    if reply.status < 0 and answer.error in features.REFUSALS:
        return f"refused by the server: {answer}"
    return AVAILABLE
