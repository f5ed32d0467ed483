"""The catalogue: SQLite in write-ahead mode, one connection a thread, one writer at a time.

A change is one transaction, so that a server killed at any instant leaves a catalogue that opens again, with the file of
an unfinished write in the vault and its replica still marked as intermediate, as the real server leaves them.
"""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SCHEMA = """
create table zone (zone_id integer primary key, name text, type text, connection text default '', comment text default '');
create table sequence (next integer not null);
create table users (
    user_id integer primary key, name text not null, type text not null, zone text not null, info text default '',
    comment text default '', password text, create_ts text not null, modify_ts text not null, unique (name, zone));
create table memberships (group_id integer not null, user_id integer not null, primary key (group_id, user_id)) without rowid;
create index memberships_user on memberships (user_id);
create table collections (
    coll_id integer primary key, name text not null unique, parent_name text not null, owner_name text not null,
    owner_zone text not null, map_id integer default 0, inheritance text default '', comments text default '',
    create_ts text not null, modify_ts text not null);
create index collections_parent on collections (parent_name);
create table resources (
    resc_id integer primary key, name text not null unique, zone text not null, type text not null,
    class text not null default 'cache', location text not null, vault_path text not null, free_space text default '',
    free_space_ts text default '', info text default '', comment text default '', status text default '',
    children text default '', context text default '', parent text default '', parent_context text default '',
    create_ts text not null, modify_ts text not null);
create table replicas (
    data_id integer not null, coll_id integer not null, name text not null, repl_num integer not null,
    version text default '', type text not null, size integer not null, resc_id integer not null, path text not null,
    owner_name text not null, owner_zone text not null, status integer not null, data_status text default '',
    checksum text default '', expiry text default '00000000000', map_id integer default 0, comments text default '',
    mode text default '', create_ts text not null, modify_ts text not null, access_ts text not null,
    original integer, primary key (data_id, repl_num), unique (coll_id, name, repl_num, version));
create index replicas_path on replicas (path);
create index replicas_resource on replicas (resc_id);
create index replicas_name on replicas (name);
create table access (
    object_id integer not null, user_id integer not null, type integer not null, create_ts text not null,
    modify_ts text not null, primary key (object_id, user_id)) without rowid;
create index access_user on access (user_id);
create table tokens (namespace text not null, id integer not null, name text not null, primary key (namespace, id));
create table metadata (
    meta_id integer primary key, attribute text not null, value text not null, units text not null default '',
    create_ts text not null, modify_ts text not null, unique (attribute, value, units));
create table metamap (
    object_id integer not null, meta_id integer not null, create_ts text not null, modify_ts text not null,
    primary key (object_id, meta_id)) without rowid;
create index metamap_meta on metamap (meta_id);
create table quotas (user_id integer, resc_id integer, quota_limit integer, over integer, modify_ts text);
"""

ACCESS_TYPES = {
    "null": 1000,
    "execute": 1010,
    "read_annotation": 1020,
    "read_system_metadata": 1030,
    "read_metadata": 1040,
    "read_object": 1050,
    "write_annotation": 1060,
    "create_metadata": 1070,
    "modify_metadata": 1080,
    "delete_metadata": 1090,
    "administer_object": 1100,
    "create_object": 1110,
    "modify_object": 1120,
    "delete_object": 1130,
    "create_token": 1140,
    "delete_token": 1150,
    "curate": 1160,
    "own": 1200,
}
FIRST_ID = 10014


def stamp(seconds: float | None = None) -> str:
    """A time as the catalogue keeps it: seconds since the epoch in 11 digits; now, if none is given."""
    return f"{int(time.time() if seconds is None else seconds):011d}"


class Catalogue:
    """The tables of one zone. `hierarchy` gives the resource hierarchy of a leaf's id, for queries (see Resources)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hierarchy: Callable[[int], str] = str
        self._local = threading.local()
        self._writing = threading.RLock()
        self._all: list[sqlite3.Connection] = []
        self._guard = threading.Lock()

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection."""
        found: sqlite3.Connection | None = getattr(self._local, "db", None)
        if found is None:
            found = self._open()
            self._local.db = found
        return found

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=60, cached_statements=256
        )
        db.row_factory = sqlite3.Row
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")
        db.execute("pragma case_sensitive_like = on")
        db.create_function("hierarchy", 1, lambda leaf: self.hierarchy(int(leaf)), deterministic=False)
        with self._guard:
            self._all.append(db)
        return db

    def lend(self) -> sqlite3.Connection:
        """A connection for one query whose rows are fetched bit by bit.

        An open cursor holds its connection to the state of the tables when it began, and keeps it from writing.
        """
        idle: list[sqlite3.Connection] = self._local.__dict__.setdefault("idle", [])
        return idle.pop() if idle else self._open()

    def take_back(self, db: sqlite3.Connection) -> None:
        """A lent connection, on which no cursor is open any more. In the thread that it was lent to."""
        self._local.__dict__.setdefault("idle", []).append(db)

    def leave(self) -> None:
        """Close this thread's connections."""
        mine: list[sqlite3.Connection] = self._local.__dict__.pop("idle", [])
        if (own := self._local.__dict__.pop("db", None)) is not None:
            mine.append(own)
        for db in mine:
            with self._guard:
                if db in self._all:
                    self._all.remove(db)
            db.close()

    def close(self) -> None:
        """Close every thread's connection; for the end of the server, when no thread works any more."""
        with self._guard:
            for db in self._all:
                db.close()
            self._all.clear()
        self._local = threading.local()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction; a change within a change belongs to the outer one. Rolls back on any exception."""
        db = self.db
        with self._writing:
            if db.in_transaction:
                yield db
                return
            db.execute("begin immediate")
            try:
                yield db
                db.execute("commit")
            except BaseException:
                with suppress(sqlite3.OperationalError):
                    db.execute("rollback")
                raise

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row, or None."""
        row: sqlite3.Row | None = self.db.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows."""
        return self.db.execute(sql, values).fetchall()

    def new_id(self) -> int:
        """The next id of the zone's one sequence. Within a change."""
        row = self.db.execute("update sequence set next = next + 1 returning next - 1").fetchone()
        return int(row[0])

    def exists(self) -> bool:
        """Whether the file holds a zone."""
        return self.path.exists() and self.one("select 1 from sqlite_master where name = 'sequence'") is not None

    def create(self, zone: str, admin: str, password: str, vault: Path) -> None:
        """A fresh zone as a new 5.0.2 has it: ids 10001 public, 10002 the administrator, 10013 demoResc (recordings)."""
        now = stamp()
        db = self.db
        statements = [part for part in SCHEMA.split(";\n") if part.strip()]
        with self.change():
            for statement in statements:
                db.execute(statement)
            db.execute("insert into zone (zone_id, name, type) values (10000, ?, 'local')", (zone,))
            db.execute("insert into sequence values (?)", (FIRST_ID,))
            db.executemany(
                "insert into tokens values ('access_type', ?, ?)",
                [(number, name) for name, number in ACCESS_TYPES.items()],
            )
            for user_id, name, kind, secret in (
                (10001, "public", "rodsgroup", None),
                (10002, admin, "rodsadmin", password),
            ):
                db.execute(
                    "insert into users (user_id, name, type, zone, password, create_ts, modify_ts) values (?,?,?,?,?,?,?)",
                    (user_id, name, kind, zone, secret, now, now),
                )
                db.execute("insert into memberships values (?, ?)", (user_id, user_id))
            db.execute("insert into memberships values (10001, 10002)")
            self._create_collections(db, zone, admin, now)
            for resc_id, name, place, where in (
                (10012, "bundleResc", "localhost", "/bundle"),
                (10013, "demoResc", socket.gethostname(), str(vault)),
            ):
                db.execute(
                    "insert into resources (resc_id, name, zone, type, location, vault_path, create_ts, modify_ts, class)"
                    " values (?, ?, ?, 'unixfilesystem', ?, ?, ?, ?, ?)",
                    (resc_id, name, zone, place, where, now, now, "bundle" if name == "bundleResc" else "cache"),
                )

    @staticmethod
    def _create_collections(db: sqlite3.Connection, zone: str, admin: str, now: str) -> None:
        names = ["/", f"/{zone}", f"/{zone}/home", f"/{zone}/trash", f"/{zone}/trash/home"]
        names += [f"/{zone}/home/public", f"/{zone}/trash/home/public"]
        names += [f"/{zone}/home/{admin}", f"/{zone}/trash/home/{admin}"]
        for coll_id, name in enumerate(names, 10003):
            db.execute(
                "insert into collections (coll_id, name, parent_name, owner_name, owner_zone, create_ts, modify_ts)"
                " values (?, ?, ?, ?, ?, ?, ?)",
                (coll_id, name, name.rpartition("/")[0] or "/", admin, zone, now, now),
            )
            owner = 10001 if name.endswith("/public") else 10002
            db.execute("insert into access values (?, ?, 1200, ?, ?)", (coll_id, owner, now, now))
