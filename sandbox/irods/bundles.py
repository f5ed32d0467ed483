"""Tars on the server: 664 unpacks one, 665 registers its members too, 666 packs a collection, 689 takes many small objects.

The real server leaks a struct-file descriptor with each 664, 665 and 666 on a connection; when they are used up it answers
SYS_OUT_OF_FILE_DESC. So does this one.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Literal

from sandbox.irods import objects, streams
from sandbox.irods.access_control import below_pattern
from sandbox.irods.agent import Agent, Reply
from sandbox.irods.catalogue import stamp
from sandbox.irods.collections import in_zone, make_all
from sandbox.irods.errors import Code, IrodsError, unix_error
from sandbox.irods.permissions import DELETE, MODIFY, READ, need
from sandbox.irods.registration import bulk_rows
from sandbox.irods.replicas import AT_REST, GOOD, STALE, NewReplica, refuse_locked, register, rows_of, split
from sandbox.irods.replication import replicate_to
from sandbox.irods.resources import Resource, make_folder
from sandbox.irods.voting import hierarchy_for_create, hierarchy_for_open
from sandbox.irods.xml_packing import Struct, keywords

STRUCT_FILES = 15
PRESERVE_PATH = 0x20
MODES: dict[str, Literal["w:gz", "w:bz2"]] = {"gzipTar": "w:gz", "bzip2Tar": "w:bz2"}
ROWS_A_BULK = 50
_ENTERING = threading.Lock()
"""One 665 at a time moves its members to the vault. The real server has no such lock: of two that bring the same files at the same
moment one may take the file of a row that the other is about to make."""


def _take_struct_file(agent: Agent) -> None:
    if agent.struct_files >= STRUCT_FILES:
        raise IrodsError(Code.SYS_OUT_OF_FILE_DESC)
    agent.struct_files += 1


def unpack_and_register(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 665 (recording bundle): members become data objects of type generic below `collection`, without checksums.

    A member whose file is there already gives SYS_COPY_ALREADY_IN_RESC unless `forceFlag`; the others are registered.
    """
    wanted = keywords(struct["KeyValPair_PI"])
    collection = struct["collection"]
    rows = rows_of(agent.catalogue, struct["objPath"])
    if not rows:
        raise IrodsError(Code.CAT_NO_ROWS_FOUND)
    need(agent.catalogue, agent.user, rows[0]["data_id"], READ)
    resources = agent.server.resources
    leaf = (
        resources.leaf_of(wanted["resc_hier"])
        if wanted.get("resc_hier")
        else hierarchy_for_open(agent, rows, wanted, "OPEN")
    )
    row = next((each for each in rows if each["resc_id"] == leaf.id), None)
    if row is None:
        raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST)
    if row["status"] not in AT_REST:
        raise IrodsError(Code.INTERMEDIATE_REPLICA_ACCESS)
    in_zone(agent, collection)
    make_all(agent, collection)
    coll = agent.catalogue.one("select coll_id from collections where name = ?", collection)
    assert coll is not None
    need(agent.catalogue, agent.user, coll["coll_id"], DELETE)
    _take_struct_file(agent)
    folder = Path(f"{row['path']}.dir.{random.randrange(1 << 31)}")
    try:
        _extract(row["path"], folder)
        with _ENTERING:
            _Members(agent, leaf, force="forceFlag" in wanted).enter(folder, collection)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Reply()


def _extract(archive: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)
            return
        with tarfile.open(archive, "r:*") as packed:
            packed.extractall(folder, filter="tar")
    except FileNotFoundError as problem:
        raise unix_error(Code.SYS_TAR_OPEN_ERR, problem) from None
    except (tarfile.TarError, zipfile.BadZipFile, OSError):
        raise IrodsError(Code.SYS_TAR_STRUCT_FILE_EXTRACT_ERR) from None


class _Members:
    """The extracted files on their way into vault and catalogue, so many to a transaction."""

    def __init__(self, agent: Agent, leaf: Resource, *, force: bool) -> None:
        self.agent = agent
        self.leaf = leaf
        self.force = force
        self.waiting: list[tuple[str, str, int, str | None]] = []
        self.failed: IrodsError | None = None

    def enter(self, folder: Path, collection: str) -> None:
        """Register all below `folder`; raises the last failure at the end."""
        self._folder(folder, collection)
        self._commit()
        if self.failed is not None:
            raise self.failed

    def _folder(self, folder: Path, collection: str) -> None:
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            path = f"{collection}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                make_all(self.agent, path)
                self._folder(Path(entry.path), path)
            elif entry.is_file(follow_symlinks=False):
                self._file(entry.path, path)

    def _file(self, found: str, path: str) -> None:
        physical = self.agent.server.resources.vault_path(self.leaf, path)
        there = os.path.lexists(physical)
        owners = self._owners(physical) if there else set()
        if owners and not (self.force and owners == {path}):
            self.failed = IrodsError(Code.SYS_COPY_ALREADY_IN_RESC)
            return
        make_folder(Path(physical).parent)
        size = os.stat(found).st_size
        old = f"{found}.replaced" if owners else None
        if old is not None:
            os.replace(physical, old)
        os.replace(found, physical)
        self.waiting.append((path, physical, size, old))
        if len(self.waiting) >= ROWS_A_BULK:
            self._commit()

    def _owners(self, physical: str) -> set[str]:
        """The objects that have that file; none for an orphan, which the server moves out of the way."""
        return {
            f"{row['coll_name']}/{row['name']}"
            for row in self.agent.catalogue.all(
                "select r.name, c.name as coll_name from replicas r join collections c on c.coll_id = r.coll_id"
                " where r.path = ?",
                physical,
            )
        }

    def _commit(self) -> None:
        try:
            with self.agent.catalogue.change() as db:
                for path, physical, size, old in self.waiting:
                    self._row(db, path, physical, size, owned=old is not None)
        except IrodsError as problem:
            self.failed = problem
            for _, physical, _, old in self.waiting:
                if old is None:
                    if not self._owners(physical):
                        Path(physical).unlink(missing_ok=True)  # cleanupBulkRegFiles
                else:
                    os.replace(old, physical)  # postProcRenamedPhyFiles
        self.waiting = []

    def _row(self, db: sqlite3.Connection, path: str, physical: str, size: int, *, owned: bool) -> None:
        # an object whose file lies elsewhere is registered as if it were new, and refused
        if not owned:
            register(self.agent, NewReplica(path, self.leaf.id, physical, size=size, mode="33188"))
            return
        rows = rows_of(self.agent.catalogue, path)
        need(self.agent.catalogue, self.agent.user, rows[0]["data_id"], MODIFY)
        refuse_locked(rows)
        db.execute(
            "update replicas set size = ?, modify_ts = ?, status = ? where data_id = ? and resc_id = ?",
            (size, stamp(), GOOD, rows[0]["data_id"], self.leaf.id),
        )


def pack_collection(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 666 (recording bundle_read): the replicas of a collection on one resource, packed as they lie in the vault.

    Objects below the collection without a replica there, or with a stale one, are replicated to it before. The server links
    the files before it packs them. One that is missing or lies outside the vault ends the call with
    UNIX_FILE_LINK_ERR, and the tar's object stays open, intermediate, until the connection ends or 622 frees it.
    """
    wanted = keywords(struct["KeyValPair_PI"])
    path, collection = struct["objPath"], struct["collection"]
    rows = rows_of(agent.catalogue, path)
    if rows and "forceFlag" not in wanted:
        raise IrodsError(Code.OVERWRITE_WITHOUT_FORCE_FLAG)
    agent.bundles += 1
    if agent.bundles > 1 and agent.server.faults.any() and agent.server.faults.take("bundle_conflict", 666, path):
        raise IrodsError(Code.SYS_INTERNAL_ERR)
    if not wanted.get("resc_hier"):
        leaf = hierarchy_for_create(agent, rows, wanted, logical=False)
        wanted["resc_hier"] = agent.server.resources.hierarchy(leaf.id)
    opened = streams.open_object(agent, _as_input(path, wanted), flags=objects.CREATE_FLAGS)
    try:
        coll = agent.catalogue.one("select coll_id from collections where name = ?", collection)
        if coll is None:
            raise IrodsError(Code.CAT_UNKNOWN_COLLECTION)
        need(agent.catalogue, agent.user, coll["coll_id"], READ)
        _replicate_missing(agent, collection, opened.leaf)
    except IrodsError:
        streams.close_object(agent, opened)
        raise
    base = split(collection)[0] if struct["oprType"] & PRESERVE_PATH else collection
    members = _linked(agent, opened, collection, base)
    try:
        _take_struct_file(agent)
        _pack(agent, opened, members, base, wanted.get("dataType", ""))
        opened.written = 1
    finally:
        streams.close_object(agent, opened)
    return Reply()


def _replicate_missing(agent: Agent, collection: str, leaf: Resource) -> None:
    """chkCollForBundleOpr: SYS_COPY_NOT_EXIST_IN_RESC for an object that cannot be replicated, unless it is the last one."""
    objects_below = agent.catalogue.all(
        "select distinct c.name as coll_name, r.name from replicas r join collections c on c.coll_id = r.coll_id"
        " where c.name = ? or c.name like ? escape '!' order by c.name, r.name",
        collection,
        below_pattern(collection),
    )
    for number, each in enumerate(objects_below, 1):
        rows = rows_of(agent.catalogue, f"{each['coll_name']}/{each['name']}")
        if not rows or any(row["resc_id"] == leaf.id and row["status"] > STALE for row in rows):
            continue
        try:
            need(agent.catalogue, agent.user, rows[0]["data_id"], MODIFY)
            if rows[0]["status"] != GOOD:
                raise IrodsError(Code.SYS_REPLICA_INACCESSIBLE)
            replicate_to(agent, rows[0], leaf)
        except IrodsError:
            if number < len(objects_below):
                raise IrodsError(Code.SYS_COPY_NOT_EXIST_IN_RESC) from None


def _as_input(path: str, wanted: dict[str, str]) -> Struct:
    pairs = {"ssLen": len(wanted), "keyWord": list(wanted), "svalue": list(wanted.values())}
    return {
        "objPath": path, "createMode": 0, "openFlags": 0, "offset": 0, "dataSize": -1, "numThreads": 0, "oprType": 0,
        "SpecColl_PI": None, "KeyValPair_PI": pairs,
    }  # fmt: skip


def _linked(agent: Agent, opened: streams.Descriptor, collection: str, base: str) -> list[tuple[str, str]]:
    """(name in the tar, file) of every replica on the tar's own leaf."""
    resources, members = agent.server.resources, []
    for row in agent.catalogue.all(
        "select r.path, r.name, c.name as coll_name from replicas r join collections c on c.coll_id = r.coll_id"
        " where r.resc_id = ? and (c.name = ? or c.name like ? escape '!') and r.path <> ? order by c.name, r.name",
        opened.leaf.id,
        collection,
        below_pattern(collection),
        opened.row["path"],
    ):
        if not resources.in_vault(opened.leaf, row["path"]) or not os.path.isfile(row["path"]):
            raise IrodsError(Code.UNIX_FILE_LINK_ERR)
        members.append(((row["coll_name"] + "/" + row["name"])[len(base) :].lstrip("/"), row["path"]))
    return members


def _pack(agent: Agent, opened: streams.Descriptor, members: list[tuple[str, str]], base: str, kind: str) -> None:
    target = opened.row["path"]
    try:
        if kind == "zipFile":
            with zipfile.ZipFile(target, "w") as zipped:
                for name, file in members:
                    zipped.write(file, name)
            return
        mode = MODES.get(kind)
        with (
            tarfile.open(target, mode, format=tarfile.PAX_FORMAT)
            if mode
            else tarfile.open(target, "w", format=tarfile.PAX_FORMAT)
        ) as packed:
            for name, file in members:
                info = packed.gettarinfo(file, name)
                info.mtime = int(info.mtime)
                with open(file, "rb") as reading:
                    packed.addfile(info, reading)
    except OSError as problem:
        raise unix_error(Code.UNIX_FILE_LINK_ERR, problem) from None


PUT_COLUMNS = {403: "path", 421: "mode", 999998: "end", 415: "checksum"}


def put_bulk(agent: Agent, struct: Struct, stream: memoryview) -> Reply:
    """API 689: up to 50 objects in one stream; OFFSET_INX (999998) tells where each ends. Stops at the first failure.

    Collections are made as needed. `forceFlag` is refused with USER_INCOMPATIBLE_PARAMS, as by the server since 4.3.1.
    """
    wanted = keywords(struct["KeyValPair_PI"])
    if "forceFlag" in wanted:
        raise IrodsError(Code.USER_INCOMPATIBLE_PARAMS)
    rows = bulk_rows(struct["GenQueryOut_PI"], PUT_COLUMNS, {415})
    if len(rows) > ROWS_A_BULK:
        raise IrodsError(Code.SYS_REQUESTED_BUF_TOO_LARGE)
    start = 0
    for row in rows:
        end = int(row["end"])
        if not start <= end <= len(stream):
            raise IrodsError(Code.SYS_COPY_LEN_ERR)
        make_all(agent, split(row["path"])[0])
        pairs = {**wanted, "dataIncluded": ""}
        if "verifyChksum" in wanted:
            pairs["verifyChksum"] = row.get("checksum", "")
        objects.put(agent, {**_as_input(row["path"], pairs), "dataSize": 0, "createMode": 0o600}, stream[start:end])
        start = end
    return Reply()
