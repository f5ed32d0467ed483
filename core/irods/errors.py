"""What an iRODS error code means for a file: one table, and the errors the gateway raises besides those of
`core.errors`.

Codes and names are those of the server's rodsErrorTable.h. The last three digits of a code are an errno. A code in no
table is transient: the file is tried again and its dead letter shows the number.
"""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from irods.exception import get_exception_class_by_code

from core.errors import FileError, Outage, Overload, Permanent, Transient, Unanswered


class Exists(Permanent):
    """The logical path already holds a data object, and overwriting was not asked for."""


class Locked(Transient):
    """A replica is intermediate or write-locked: another client is writing it, or one died while it was."""


class NotForUser(Transient):
    """The user that a job acts for does not exist, or who logs in may not act for others. Nobody else's files wait for
    that: it is no outage."""


class Meaning(NamedTuple):
    """What one code means: its name, the error it raises, a hint, and our word for it when the name is not the
    class."""

    name: str
    kind: type[FileError]
    hint: str = ""
    word: str = ""


CAT_NO_ROWS_FOUND = -808000
ALREADY_HAS_ITEM = -809000
UNKNOWN_COLLECTION = -814000
UNKNOWN_FILE = -817000
NO_ACCESS = -818000
COLLECTION_NOT_EMPTY = -821000
NAME_IS_COLLECTION = -833000
NAME_IS_DATA_OBJECT = -834000
COPY_ALREADY_IN_RESC = -46000
NO_API_PRIV = -13000
UNMATCHED_API_NUM = -12000
USER_FILE_DOES_NOT_EXIST = -310000
OVERWRITE_WITHOUT_FORCE = -312000
CHECKSUM_MISMATCH = -314000
FILE_SIZE_MISMATCH = -401000
INTERMEDIATE_REPLICA_ACCESS = -405000
LOCKED_DATA_OBJECT_ACCESS = -406000
CHECK_VERIFICATION_RESULTS = -407000
NO_CHECKSUM = -862000
OBJ_PATH_DOES_NOT_EXIST = -358000
HIERARCHY_ERROR = -1803000
SYS_INTERNAL_ERR = -154000
OUT_OF_FILE_DESC = -18000

_REPAIR = (
    "a client may have died while writing it; as rodsadmin:"
    " iadmin modrepl logical_path <path> replica_number <n> DATA_REPL_STATUS 0"
)
_SERVER = "the iRODS server or its database is away or overloaded; ask its administrator"
_LOGIN = "check irods.user, irods.zone, the password and the authentication scheme"
_ACL = "give the user write permission: ichmod write <user> <collection>"
_RESOURCE = "list resources with `ilsresc`"
_FULL = "the resource is full or over quota; make room or raise the quota"

TABLE: dict[int, Meaning] = {
    # the whole service is away or overloaded
    -4000: Meaning("SYS_HEADER_READ_LEN_ERR", Outage, _SERVER),
    -5000: Meaning("SYS_HEADER_WRITE_LEN_ERR", Outage, _SERVER),
    -7000: Meaning("SYS_CAUGHT_SIGNAL", Outage, _SERVER),
    -9000: Meaning(
        "SYS_EXCEED_CONNECT_CNT", Overload, "too many connections; lower irods.connections or the number of pods"
    ),
    -10000: Meaning("SYS_USER_NOT_ALLOWED_TO_CONN", Outage, _SERVER),
    -16000: Meaning("SYS_MALLOC_ERR", Overload, _SERVER),
    OUT_OF_FILE_DESC: Meaning("SYS_OUT_OF_FILE_DESC", Outage, "the agent leaked descriptors; a new connection helps"),
    -22000: Meaning("SYS_SVR_TO_SVR_CONNECT_FAILED", Outage, _SERVER),
    -37000: Meaning("SYS_NO_ICAT_SERVER_ERR", Outage, _SERVER),
    -38000: Meaning("SYS_AGENT_INIT_ERR", Overload, _SERVER),
    -49000: Meaning("SYS_FORK_ERROR", Overload, _SERVER),
    -92000: Meaning("CROSS_ZONE_SOCK_CONNECT_ERR", Outage, _SERVER),
    -105000: Meaning("SYS_RESC_IS_DOWN", Outage, "the resource is marked down: iadmin modresc <resource> status up"),
    -110000: Meaning("SYS_RESC_QUOTA_EXCEEDED", Outage, _FULL),
    -115000: Meaning("SYS_SOCK_READ_TIMEDOUT", Outage, _SERVER),
    -116000: Meaning("SYS_SOCK_READ_ERR", Outage, _SERVER),
    -118000: Meaning("SYS_MAX_CONNECT_COUNT_EXCEEDED", Overload, "too many connections; lower irods.connections"),
    -155000: Meaning("SYS_SOCK_SELECT_ERR", Outage, _SERVER),
    -161000: Meaning("SYS_SOCK_WRITE_ERR", Outage, _SERVER),
    -162000: Meaning("SYS_SOCK_CONNECT_ERR", Outage, _SERVER),
    -179000: Meaning("SOCKET_ERROR", Outage, _SERVER),
    -181000: Meaning("SHUTDOWN_SEQUENCE_INITIATED", Outage, _SERVER),
    -185000: Meaning("CONNECTION_REFUSED", Outage, _SERVER),
    -305000: Meaning("USER_SOCK_CONNECT_ERR", Outage, _SERVER),
    -347000: Meaning("USER_SOCK_CONNECT_TIMEDOUT", Outage, _SERVER),
    -801000: Meaning("CATALOG_NOT_CONNECTED", Outage, _SERVER),
    -802000: Meaning("CAT_ENV_ERR", Outage, _SERVER),
    -803000: Meaning("CAT_CONNECT_ERR", Overload, _SERVER),
    -804000: Meaning("CAT_DISCONNECT_ERR", Outage, _SERVER),
    -860000: Meaning("CAT_STATEMENT_TABLE_FULL", Outage, "the agent leaked statements; a new connection helps"),
    # the login; an outage while work goes on, for no file is at fault
    -178000: Meaning("AUTHENTICATION_ERROR", Outage, _LOGIN, "auth"),
    -826000: Meaning("CAT_INVALID_AUTHENTICATION", Outage, _LOGIN, "auth"),
    -827000: Meaning("CAT_INVALID_USER", Outage, _LOGIN, "auth"),
    -828000: Meaning("CAT_INVALID_ZONE", Outage, _LOGIN, "auth"),
    -832000: Meaning("CAT_INVALID_CLIENT_USER", Outage, "there is no such user to act for", "auth"),
    -840000: Meaning("CAT_PASSWORD_EXPIRED", Outage, "the password or PAM token has expired; log in again", "auth"),
    -910000: Meaning("REMOTE_SERVER_AUTHENTICATION_FAILURE", Outage, _LOGIN, "auth"),
    -993000: Meaning("PAM_AUTH_PASSWORD_FAILED", Outage, _LOGIN, "auth"),
    -1824000: Meaning(
        "CLIENT_NEGOTIATION_ERROR", Outage, "client and server disagree on TLS: irods_client_server_policy"
    ),
    -1825000: Meaning(
        "SERVER_NEGOTIATION_ERROR", Outage, "client and server disagree on TLS: irods_client_server_policy"
    ),
    -2103000: Meaning(
        "SSL_HANDSHAKE_ERROR", Outage, "check irods_ssl_ca_certificate_file and the server's certificate"
    ),
    # somebody else holds the replica, or held it when it died
    INTERMEDIATE_REPLICA_ACCESS: Meaning("INTERMEDIATE_REPLICA_ACCESS", Locked, _REPAIR, "locked"),
    LOCKED_DATA_OBJECT_ACCESS: Meaning("LOCKED_DATA_OBJECT_ACCESS", Locked, _REPAIR, "locked"),
    -123000: Meaning("SYS_FS_LOCK_ERR", Locked, _REPAIR, "locked"),
    -721000: Meaning("REPLICA_IS_BEING_STAGED", Transient, "its archive is staging it; it is tried again"),
    # worth another attempt
    -806000: Meaning("CAT_SQL_ERR", Transient, "the catalogue refused a statement; its log says why"),
    SYS_INTERNAL_ERR: Meaning("SYS_INTERNAL_ERR", Transient),
    -27000: Meaning("SYS_COPY_LEN_ERR", Transient, "fewer bytes arrived than were announced"),
    CHECKSUM_MISMATCH: Meaning(
        "USER_CHKSUM_MISMATCH", Transient, "the bytes on the resource are not those that were sent"
    ),
    UNKNOWN_COLLECTION: Meaning("CAT_UNKNOWN_COLLECTION", Transient, "its collection has gone; it is made again"),
    -166000: Meaning("SYS_NO_GOOD_REPLICA", Transient),
    -168000: Meaning("SYS_REPLICA_INACCESSIBLE", Transient),
    HIERARCHY_ERROR: Meaning(
        "HIERARCHY_ERROR", Transient, f"no resource took it: one is full or down, or a replica is locked ({_REPAIR})"
    ),
    # until a person changes something
    UNMATCHED_API_NUM: Meaning("SYS_UNMATCHED_API_NUM", Permanent, "this server is too old for this call"),
    NO_API_PRIV: Meaning("SYS_NO_API_PRIV", Permanent, "this call needs a rodsadmin"),
    -39000: Meaning("SYS_PROXYUSER_NO_PRIV", Permanent, "only a rodsadmin may act for another user"),
    -36000: Meaning("SYS_NO_PATH_PERMISSION", Permanent, "the server's path policy refuses this physical path"),
    -78000: Meaning("SYS_RESC_DOES_NOT_EXIST", Permanent, _RESOURCE),
    -128000: Meaning("CANT_REG_IN_VAULT_FILE", Permanent, "only a rodsadmin may register files that lie in a vault"),
    -129000: Meaning("PATH_REG_NOT_ALLOWED", Permanent, "only a rodsadmin may register (acSetChkFilePathPerm)"),
    -130000: Meaning("SYS_INVALID_INPUT_PARAM", Permanent),
    -316000: Meaning("USER_PACKSTRUCT_INPUT_ERR", Permanent, "a path is too long or has characters iRODS cannot take"),
    -317000: Meaning("USER_INPUT_PATH_ERR", Permanent, "iRODS does not take this logical path"),
    -320000: Meaning("USER_DIRECT_RESC_INPUT_ERR", Permanent, _RESOURCE),
    -321000: Meaning("USER_NO_RESC_INPUT_ERR", Permanent, "no default resource: set job.resource"),
    -346000: Meaning("USER_PATH_EXCEEDS_MAX", Permanent, "shorten the path", "path_too_long"),
    -361000: Meaning("USER_INVALID_RESC_INPUT", Permanent, _RESOURCE),
    OVERWRITE_WITHOUT_FORCE: Meaning("OVERWRITE_WITHOUT_FORCE_FLAG", Exists),
    ALREADY_HAS_ITEM: Meaning("CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME", Exists),
    COPY_ALREADY_IN_RESC: Meaning("SYS_COPY_ALREADY_IN_RESC", Exists),
    CAT_NO_ROWS_FOUND: Meaning("CAT_NO_ROWS_FOUND", Permanent, "iRODS has no such object, or this user may not see it"),
    UNKNOWN_FILE: Meaning("CAT_UNKNOWN_FILE", Permanent, "iRODS has no such object, or this user may not see it"),
    OBJ_PATH_DOES_NOT_EXIST: Meaning("OBJ_PATH_DOES_NOT_EXIST", Permanent, "iRODS has no such object"),
    NO_ACCESS: Meaning("CAT_NO_ACCESS_PERMISSION", Permanent, _ACL),
    COLLECTION_NOT_EMPTY: Meaning("CAT_COLLECTION_NOT_EMPTY", Permanent),
    -830000: Meaning("CAT_INSUFFICIENT_PRIVILEGE_LEVEL", Permanent, "this call needs a rodsadmin"),
    -831000: Meaning("CAT_INVALID_RESOURCE", Permanent, _RESOURCE),
    NAME_IS_COLLECTION: Meaning("CAT_NAME_EXISTS_AS_COLLECTION", Permanent, "a collection has that name"),
    NAME_IS_DATA_OBJECT: Meaning("CAT_NAME_EXISTS_AS_DATAOBJ", Permanent, "a data object has that name"),
    -852000: Meaning("CAT_UNKNOWN_RESOURCE", Permanent, _RESOURCE),
    -1816000: Meaning("DIRECT_CHILD_ACCESS", Permanent, "put to the root of the resource tree, not to a child"),
    # names that python-irodsclient 3.3.0 does not know
    -113000: Meaning("SYS_REQUESTED_BUF_TOO_LARGE", Permanent),
    FILE_SIZE_MISMATCH: Meaning("USER_FILE_SIZE_MISMATCH", Transient),
    CHECK_VERIFICATION_RESULTS: Meaning("CHECK_VERIFICATION_RESULTS", Transient),
}

LOCK_CODES = frozenset({INTERMEDIATE_REPLICA_ACCESS, LOCKED_DATA_OBJECT_ACCESS, HIERARCHY_ERROR})
"""Answers that a replica left behind by a dead client gives, depending on the call."""
POISONED = frozenset({SYS_INTERNAL_ERR, OUT_OF_FILE_DESC, -860000, -7000})
"""Answers after which this agent cannot be trusted: the connection is replaced."""
NOT_FOR_USER = frozenset({-832000, -39000})
"""Answers to a login that are about the user to act for."""
LOGIN_OVER = frozenset(code for code, entry in TABLE.items() if entry.word == "auth")
"""Answers after which the connection is replaced by one that logs in with the secret as it is then."""
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def nominal(code: int) -> int:
    """The code without its errno: -516002 is -516000."""
    return -(abs(code) // 1000 * 1000) if code <= -1000 else code


def meaning(code: int) -> Meaning:
    """The table's entry, or one made for a code it does not have."""
    known = TABLE.get(nominal(code))
    if known is not None:
        return known
    known_class = get_exception_class_by_code(code)
    name = str(known_class.__name__) if known_class is not None and code <= -1000 else f"IRODS_{abs(nominal(code))}"
    number = abs(code) % 1000
    if number in _NO_SPACE:
        return Meaning(name, Outage, _FULL)
    if number == errno.ENAMETOOLONG:
        return Meaning(name, Permanent, "the resource's filesystem takes no name of this length", "path_too_long")
    return Meaning(name, Transient)


def error_for(code: int, path: str = "", text: str = "") -> FileError:
    """The error a negative status raises; its message is one line with the name, the number, the path and the
    server's words."""
    entry = meaning(code)
    number = abs(code) % 1000
    detail = f" [{errno.errorcode[number]}]" if code <= -1000 and number in errno.errorcode else ""
    message = f"{entry.name} ({code}){detail}" + (f" at {path}" if path else "") + (f": {text}" if text else "")
    return entry.kind(entry.word or entry.name, message, entry.hint)


def lost(cause: BaseException, where: str) -> Outage:
    """The connection broke or the server kept silent; what was asked may or may not have been done."""
    if isinstance(cause, TimeoutError):
        return Unanswered(
            "timeout", f"no answer from iRODS at {where} in time", "raise irods.timeout_seconds, or look at the server"
        )
    if isinstance(cause, socket.gaierror):
        return Outage("unknown_host", f"the host of {where} is unknown: {cause.strerror}", "check irods.host")
    if isinstance(cause, ConnectionRefusedError):
        return Outage(
            "unreachable", f"iRODS at {where} refuses connections", "check irods.host and irods.port; is it running?"
        )
    return Unanswered(
        "connection_lost", f"lost the connection to iRODS at {where}: {cause or type(cause).__name__}", _SERVER
    )
