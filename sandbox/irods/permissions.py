"""Users as a request sees them, and what they may do."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sandbox.irods.catalogue import ACCESS_TYPES, Catalogue, stamp
from sandbox.irods.errors import Code, IrodsError

READ, MODIFY, DELETE, OWN = (ACCESS_TYPES[name] for name in ("read_object", "modify_object", "delete_object", "own"))


@dataclass(frozen=True, slots=True)
class User:
    """One side of a connection: the proxy, which gives the password, or the client, for whom it acts."""

    id: int
    name: str
    zone: str
    type: str

    @property
    def admin(self) -> bool:
        return self.type == "rodsadmin"


def find_user(catalogue: Catalogue, name: str, zone: str) -> User | None:
    """The user or group of that name, or None."""
    row = catalogue.one("select user_id, name, zone, type from users where name = ? and zone = ?", name, zone)
    return User(row["user_id"], row["name"], row["zone"], row["type"]) if row else None


def level(catalogue: Catalogue, user: User, object_id: int) -> int:
    """The highest access that the user has on an object or collection, alone or by groups; 0 without any."""
    row = catalogue.one(
        "select max(type) from access where object_id = ?"
        " and user_id in (select group_id from memberships where user_id = ?)",
        object_id,
        user.id,
    )
    return int(row[0] or 0) if row else 0


def need(catalogue: Catalogue, user: User, object_id: int, wanted: int) -> None:
    """Refuse with CAT_NO_ACCESS_PERMISSION unless the user has `wanted`; an administrator has no bypass either."""
    if level(catalogue, user, object_id) < wanted:
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION)


def grant(db: sqlite3.Connection, object_id: int, user_id: int, wanted: int) -> None:
    """Set the access of one user on one object; null access is no row. Within a change."""
    if wanted <= ACCESS_TYPES["null"]:
        db.execute("delete from access where object_id = ? and user_id = ?", (object_id, user_id))
        return
    now = stamp()
    db.execute(
        "insert into access values (?, ?, ?, ?, ?)"
        " on conflict (object_id, user_id) do update set type = excluded.type, modify_ts = excluded.modify_ts",
        (object_id, user_id, wanted, now, now),
    )


def first_access(db: sqlite3.Connection, object_id: int, user: User, parent: sqlite3.Row) -> None:
    """The access rows of a new object: its creator owns it, or those of the collection where inheritance is on."""
    if parent["inheritance"] == "1":
        now = stamp()
        db.execute(
            "insert into access select ?, user_id, type, ?, ? from access where object_id = ?",
            (object_id, now, now, parent["coll_id"]),
        )
    else:
        grant(db, object_id, user.id, OWN)


def parent_for_writing(catalogue: Catalogue, user: User, name: str, *, quiet: bool = False) -> sqlite3.Row:
    """The collection `name`, in which the user wants to create or remove something.

    CAT_UNKNOWN_COLLECTION and CAT_NO_ACCESS_PERMISSION come with the server's texts, cut to 99 bytes as there
    (recordings put, users). A new collection in one without permission gets no text (`quiet`).
    """
    row = catalogue.one("select * from collections where name = ?", name)
    if row is None:
        raise IrodsError(Code.CAT_UNKNOWN_COLLECTION, cut(f"collection '{name}' is unknown"))
    if level(catalogue, user, row["coll_id"]) < MODIFY:
        raise IrodsError(
            Code.CAT_NO_ACCESS_PERMISSION, None if quiet else cut(f"no permission to update collection '{name}'")
        )
    return row


def cut(message: str) -> str:
    """A text as it fits the server's buffer of 100 bytes."""
    return message.encode()[:99].decode("utf-8", "ignore")
