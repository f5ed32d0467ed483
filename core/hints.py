"""What a class of failure means and what to do about it: one table for commands, reports and docs/errors.md.

Classes are those of `core.errors.FileError.error`. Names of iRODS codes that are not here come from `core.irods.errors.TABLE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple


class Advice(NamedTuple):
    """What a class of failure means, and what a person does about it; either may be empty."""

    meaning: str
    hint: str


_READABLE = "make it readable for the pod's user, then `ingest retry --error {error}`"
_RESOURCE = "look at the resource and its storage; the message has both values; `ingest retry` loads it again"
_NAME = "rename it at the source; the next scan finds the new name"
_AWAY = "nothing to do if it was short: the file is tried again by itself; else look at the service"

CLASSES: Mapping[str, Advice] = {
    "EACCES": Advice("the pod's user may not read it", _READABLE),
    "EPERM": Advice("the pod's user may not read it", _READABLE),
    "EIO": Advice("the source's storage failed to read it", "look at the disk or the file server; it is tried again"),
    "ELOOP": Advice("symbolic links go round in a circle", _NAME),
    "EISDIR": Advice("a directory has taken the place of a file", "the next scan puts it right"),
    "ENXIO": Advice("a device or pipe without a partner has taken the place of a file", "the next scan puts it right"),
    "ENAMETOOLONG": Advice("a name or path longer than the storage takes", _NAME),
    "ESTALE": Advice("the file server has forgotten the file's handle", "is the source mounted? it is tried again"),
    "path_too_long": Advice("a path of over 1,023 bytes, or a name longer than the storage takes", _NAME),
    "bad_path": Advice("a logical path that iRODS would take apart or refuse", _NAME),
    "bad_physical_path": Advice(
        "registration needs a physical path that iRODS can hold",
        "rename it, put it, or set job.link_folder; then retry",
    ),
    "bad_link_folder": Advice(
        "the link by which a file is registered cannot be made",
        "let the pod's user write to job.link_folder; then retry",
    ),
    "changed": Advice(
        "the file was never at rest while it was read", "set job.settle_seconds, or close the file; then retry"
    ),
    "not_regular": Advice("something else has taken the place of a regular file", "the next scan puts it right"),
    "short_read": Advice("the source gave fewer bytes than it had announced", "it is tried again with its new size"),
    "short_write": Advice("iRODS took fewer bytes than were sent", "it is tried again; is the resource full?"),
    "source_checksum_mismatch": Advice(
        "what was read is not what the source or the manifest promises", "it is damaged there or on the way; look at it"
    ),
    "source_checksum_unknown": Advice(
        "the bytes were not read in order, so they could not be hashed", "it is tried again"
    ),
    "bad_key": Advice("a path that no key of S3 can have", "was the job's source changed? start a job of its own"),
    "broken_listing": Advice("a page of the bucket's listing does not say how to go on", "it is tried again by itself"),
    "unordered_listing": Advice(
        "the bucket is not listed in the order of its keys", "directory buckets cannot be a source"
    ),
    "InvalidObjectState": Advice(
        "the object is in an archive storage class", "restore it, then `ingest retry --error {error}`"
    ),
    "range_ignored": Advice(
        "S3, or a proxy before it, sends the whole object where a part is asked for", "have the proxy pass Range on"
    ),
    "AccessDenied": Advice(
        "the credentials may not read the object, or not list the prefix",
        "grant s3:GetObject or s3:ListBucket, then `ingest retry --error {error}`",
    ),
    "NoSuchBucket": Advice("the bucket is missing", "check the job's source"),
    "SlowDown": Advice("S3 has too much to do", _AWAY),
    "ExpiredToken": Advice("the S3 credentials have expired", "renew them; nothing was counted"),
    "no_credentials": Advice("the pod has no S3 credentials", "set s3.key_pair_file, or give the pod a role"),
    "poison": Advice(
        "pods died over this file again and again", "look at the pods' logs and memory limits, then `ingest retry`"
    ),
    "size_mismatch": Advice("iRODS holds another number of bytes than the source had", _RESOURCE),
    "checksum_mismatch": Advice("iRODS holds other bytes than the source had", _RESOURCE),
    "replica_not_good": Advice("no replica in iRODS is marked good", _RESOURCE),
    "missing_object": Advice("iRODS has no such data object any more", "who removed it? `ingest retry` loads it again"),
    "missing_file": Advice("the catalogue names a file that its storage does not have", _RESOURCE),
    "no_checksum": Advice(
        "the source's checksum is unknown, so its bytes cannot be compared", "verify at stat or catalog, or put it"
    ),
    "unknown_checksum": Advice("a checksum of a scheme this program does not compute", "verify at stat or catalog"),
    "handler_not_loaded": Advice(
        "the pod cannot load the job's event handler or extracting function",
        "look at the message: its imports must be installed in the pods; then `ingest retry`",
    ),
    "bad_answer": Advice("the event handler's answer makes no sense", "repair it and start another job with it"),
    "helper_died": Advice("the process that ran the event handler has died", "look at the pod's log and memory limit"),
    "locked": Advice(
        "a replica is intermediate or write-locked: a client writes it, or died while it did",
        "wait for the client, or as rodsadmin run the `iadmin modrepl` of the message; then retry",
    ),
    "wrong_path": Advice("the object is registered from another file", "unregister it, or choose another collection"),
    "wrong_resource": Advice("the object is not where the job loads to", "set job.resource, or move the object"),
    "no_resource": Advice("the job names no resource and iRODS has no default", "set job.resource"),
    "replica_race": Advice("somebody else registered a replica at the same moment", "it is tried again by itself"),
    "registered_in_place": Advice(
        "the object is registered from a file outside the vault, which a put would overwrite",
        "unregister it, or use register_sync",
    ),
    "in_use": Advice(
        "somebody else is writing the file of this object, or died less than a minute ago while it did",
        "it is tried again by itself; what is older is moved aside",
    ),
    "place_taken": Advice(
        "where its file would lie in the vault is the file of another object, which iRODS would move away",
        "move that object or unregister it, then retry; or load to another resource",
    ),
    "collection_is_data_object": Advice("a data object has the name of a collection", "move one of them, then retry"),
    "exists": Advice("the object exists and `put` leaves it alone", "use put_sync to overwrite it"),
    "skipped": Advice("by the job's rules there is nothing to do", "use put_sync to overwrite what exists"),
    "refused": Advice("iRODS refused it", "the message has its words"),
    "not_reported": Advice("a bulk call said nothing about this file", "it is tried again by itself"),
    "unreadable_reply": Advice(
        "iRODS answered with text that is not XML: a name in the catalogue has a control character",
        "rename that object by an administrator",
    ),
    "auth": Advice("iRODS refused the login", "check irods.user, irods.zone and the password"),
    "tls": Advice("no TLS connection with iRODS", "check the CA file and the server's certificate"),
    "timeout": Advice(
        "no answer from iRODS in time, or the event handler's time was up",
        "look at the server, or raise irods.timeout_seconds or the handler's timeout",
    ),
    "hangs": Advice(
        "iRODS never answers the call for this file, or breaks it off, while it answers others",
        "look at the server's log for its path: a rule that never returns, a resource that hangs, an agent that crashes; then"
        " `ingest retry --error {error}`",
    ),
    "unknown_host": Advice("the host of iRODS is unknown", "check irods.host"),
    "unreachable": Advice("iRODS refuses connections", "check irods.host and irods.port; is it running?"),
    "connection_lost": Advice("the connection to iRODS broke", _AWAY),
    "no_object": Advice("the input of a compute task is gone", "it was removed or renamed; `ingest compute list`"),
    "no_access": Advice(
        "the owner of a compute rule may not read the input, or does not own the destination",
        "the message has the `ichmod`",
    ),
    "no_good_replica": Advice("no replica of a compute task's input is good", "repair it, then `ingest compute retry`"),
    "not_replicated": Advice(
        "iRODS shows no good replica on the resource of a compute rule after replicating", "it is tried again by itself"
    ),
    "bad_node_selector": Advice(
        "an AVU compute::node_selector of a resource is not label=value", "the message has the `imeta`"
    ),
    "not_in_volume": Advice(
        "the input of a compute task does not lie on the rule's volume",
        "correct `volume.path`, or stage without `volume`",
    ),
    "invalid_job": Advice("Kubernetes refuses a compute Job", "check the rule's image, resources and labels"),
    "source_away": Advice("the source's root is missing or empty", "is the source mounted?"),
    "source_empty": Advice("the source's root is empty, and was not before", "is the source mounted?"),
    "source_shrunk": Advice(
        "far fewer files than before: nothing is marked as gone", "is the source whole? see job settings of deletion"
    ),
}
"""Words of ours and names of errno."""


@cache
def _of_irods() -> dict[str, Advice]:
    from core.errors import Outage, Permanent
    from core.irods.errors import TABLE

    found: dict[str, Advice] = {}
    for entry in TABLE.values():
        kind = "iRODS is away or overloaded" if issubclass(entry.kind, Outage) else "iRODS refused it"
        kind = "iRODS could not do it this time" if not issubclass(entry.kind, Outage | Permanent) else kind
        found.setdefault(entry.word or entry.name, Advice(f"{kind} ({entry.name})", entry.hint))
    return found


def advice(error: str) -> Advice:
    """What a class means and what to do; for a class in no table, where to look."""
    known = CLASSES.get(error) or _of_irods().get(error)
    if known is None:
        return Advice("", "the message has the words of the service; `ingest explain PATH` has all attempts")
    return Advice(known.meaning, known.hint.replace("{error}", error))


def all_classes() -> dict[str, Advice]:
    """Every class that has an entry, ours first."""
    names = [*CLASSES, *sorted(set(_of_irods()) - set(CLASSES))]
    return {name: advice(name) for name in names}
