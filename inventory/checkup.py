"""Whether the inventory's Postgres is well: version, settings, connections, long transactions, bloat, undelivered notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, text

from core.checkup import Check, Verdict
from core.errors import IngestError
from core.settings import InventorySettings
from inventory import notices, schema
from inventory.engine import Database

CONNECTIONS_OF_A_POD = 4
"""Its main thread's, its heartbeat's, one for notices, and one to spare."""
LONG_SECONDS = 600
OLD_XIDS = 1_000_000_000
DEAD_TUPLES = 100_000
MIB = 1024 * 1024


class _Advice(NamedTuple):
    """A setting, how it is judged by its value, and what it should be. Sizes are bytes."""

    name: str
    bad: Callable[[str], bool]
    verdict: Verdict
    should: str


_ADVICE = (
    _Advice("fsync", lambda v: v != "on", "FAIL", "on: without it a crash can destroy the inventory"),
    _Advice("full_page_writes", lambda v: v != "on", "FAIL", "on: without it a crash can destroy the inventory"),
    _Advice("autovacuum", lambda v: v != "on", "FAIL", "on: claims become slow within hours without it"),
    _Advice(
        "synchronous_commit",
        lambda v: v == "off",
        "WARN",
        "on: a crash undoes the last results, and files are done again",
    ),
    _Advice("shared_buffers", lambda v: float(v) < 512 * MIB, "WARN", "a quarter of the memory, at least 512 MB"),
    _Advice(
        "max_wal_size", lambda v: float(v) < 4096 * MIB, "WARN", "8 GB or more: checkpoints come too often otherwise"
    ),
    _Advice(
        "maintenance_work_mem",
        lambda v: float(v) < 256 * MIB,
        "WARN",
        "512 MB or more: vacuum of large partitions needs it",
    ),
    _Advice("random_page_cost", lambda v: float(v) > 2, "WARN", "1.1 on solid-state disks"),
    _Advice("checkpoint_completion_target", lambda v: float(v) < 0.7, "WARN", "0.9"),
    _Advice("max_locks_per_transaction", lambda v: float(v) < 64, "WARN", "64 or more: jobs have many partitions"),
)


def check(settings: InventorySettings) -> Iterator[Check]:
    """All there is to check. Raises Unavailable when Postgres does not answer."""
    database = Database(
        settings.connection_url(), connect_timeout_seconds=settings.connect_timeout_seconds, name="ingest doctor"
    )
    try:
        with database.begin() as connection:
            yield from _server(connection)
            yield from _settings(connection)
            yield from _transactions(connection)
        try:
            yield Check("inventory", "schema", "OK", f"version {schema.check(database)}")
        except IngestError as problem:
            yield Check("inventory", "schema", "FAIL", problem.message, problem.hint)
            return
        with database.begin() as connection:
            yield _connections(connection)
            yield from _bloat(connection)
        yield _notices(database)
    finally:
        database.close()


def _server(connection: Connection) -> Iterator[Check]:
    row = connection.execute(
        text(
            "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number"
        )
    ).one()
    if row.number < 140_000:
        yield Check("inventory", "version", "FAIL", f"PostgreSQL {row.version}", "upgrade to 15 or newer")
    elif row.number < 150_000:
        yield Check("inventory", "version", "WARN", f"PostgreSQL {row.version}", "tested with 15 to 18")
    else:
        yield Check("inventory", "version", "OK", f"PostgreSQL {row.version}")
    began = time.time()
    server = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    took = time.time() - began
    away = server - began if server < began else max(0.0, server - began - took)
    if abs(away) > 5:
        yield Check(
            "inventory",
            "clock",
            "WARN",
            f"its clock is {away:+.0f} s from this one's",
            "set both by NTP; only its own counts",
        )
    else:
        yield Check("inventory", "clock", "OK", f"its clock is {away:+.1f} s from this one's")
    slow = took > 0.02
    hint = "claims and results wait for it: put Postgres nearer to the pods" if slow else ""
    yield Check("inventory", "round trip", "WARN" if slow else "OK", f"{took * 1000:.1f} ms", hint)


def _settings(connection: Connection) -> Iterator[Check]:
    rows = connection.execute(
        text("SELECT name, setting, unit, current_setting(name) AS shown FROM pg_settings WHERE name = ANY(:names)"),
        {"names": [advice.name for advice in _ADVICE]},
    )
    units = {"8kB": 8192, "kB": 1024, "MB": MIB}
    values = {
        row.name: (str(int(row.setting) * units[row.unit]) if row.unit in units else row.setting, row.shown)
        for row in rows
    }
    for advice in _ADVICE:
        if advice.name in values:
            value, shown = values[advice.name]
            if advice.bad(value):
                yield Check("inventory", advice.name, advice.verdict, shown, f"should be {advice.should}")
            else:
                yield Check("inventory", advice.name, "OK", shown)


def _transactions(connection: Connection) -> Iterator[Check]:
    rows = connection.execute(
        text("""
            SELECT pid, coalesce(nullif(application_name, ''), 'unnamed') AS who,
                extract(epoch FROM now() - xact_start)::int AS seconds
            FROM pg_stat_activity WHERE xact_start < now() - make_interval(secs => :long) AND backend_type = 'client backend'
            ORDER BY xact_start"""),
        {"long": LONG_SECONDS},
    ).all()
    hint = "claims slow down while it lasts: end it, or SELECT pg_terminate_backend(pid)"
    for row in rows:
        yield Check("inventory", "long transaction", "WARN", f"{row.who}, process {row.pid}, for {row.seconds} s", hint)
    if not rows:
        yield Check("inventory", "long transactions", "OK", "none")
    held = connection.execute(
        text("""
            SELECT slot_name AS what FROM pg_replication_slots WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL)
            UNION ALL SELECT gid FROM pg_prepared_xacts""")
    ).scalars()
    for what in held:
        yield Check(
            "inventory",
            "held back",
            "WARN",
            f"{what} keeps dead rows from being removed",
            "drop the slot, or end the prepared one",
        )
    age = int(connection.execute(text("SELECT max(age(datfrozenxid)) FROM pg_database")).scalar_one())
    old = age > OLD_XIDS
    yield Check(
        "inventory",
        "transaction ids",
        "WARN" if old else "OK",
        f"the oldest is {age} behind",
        "run VACUUM FREEZE" if old else "",
    )


def _connections(connection: Connection) -> Check:
    row = connection.execute(
        text("""
            SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most,
                (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
                (SELECT count(*) FROM inventory.worker WHERE stopped_at IS NULL AND expired_at IS NULL) AS pods""")
    ).one()
    message = f"{row.used} of {row.most} in use, {row.pods} pods alive"
    if row.used > 0.9 * row.most:
        return Check(
            "inventory",
            "connections",
            "FAIL",
            message,
            "raise max_connections, or put a pooler in session mode before it",
        )
    if row.pods * CONNECTIONS_OF_A_POD > 0.8 * row.most:
        hint = (
            f"{row.pods} pods may take {row.pods * CONNECTIONS_OF_A_POD}: raise max_connections before there are more"
        )
        return Check("inventory", "connections", "WARN", message, hint)
    return Check("inventory", "connections", "OK", f"{message}; enough for {row.most // CONNECTIONS_OF_A_POD} pods")


def _bloat(connection: Connection) -> Iterator[Check]:
    rows = connection.execute(
        text("""
            SELECT relname, n_dead_tup AS dead, n_live_tup AS live, coalesce(last_autovacuum, last_vacuum) AS at
            FROM pg_stat_user_tables WHERE schemaname = 'inventory' AND n_dead_tup > :few AND n_dead_tup > 0.2 * n_live_tup
            ORDER BY n_dead_tup DESC LIMIT 5"""),
        {"few": DEAD_TUPLES},
    ).all()
    for row in rows:
        when = f"last vacuumed {row.at:%Y-%m-%d %H:%M} UTC" if row.at else "never vacuumed"
        message = f"{row.relname}: {row.dead} dead rows beside {row.live} live ones, {when}"
        yield Check(
            "inventory",
            "bloat",
            "WARN",
            message,
            f"VACUUM inventory.{row.relname}; raise autovacuum_max_workers and its cost limit",
        )
    if not rows:
        yield Check("inventory", "bloat", "OK", "no table has many dead rows")


def _notices(database: Database) -> Check:
    left = notices.undelivered(database)
    if not left:
        return Check("inventory", "notices", "OK", "none waits to be delivered again")
    first = left[0]
    which = f"{first.channel} of pass {first.number} of {first.job}"
    message = f"{len(left)} not taken; {which}, {first.attempts} attempts: {first.error}"
    return Check("inventory", "notices", "WARN", message, "check the section notify of the settings")
