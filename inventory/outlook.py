"""What happens next to a file or directory, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from core import readable, timetable
from core.settings import JobSettings
from inventory import flight
from inventory.flight import Cap
from inventory.jobs import Job
from inventory.workers import MAY_RUN

Next = tuple[str, datetime | None]
"""What happens, and when that is planned; None where nobody can say."""
STAGES = {
    "discovered": ("load", "loader", "loads"),
    "loaded": ("verify", "verifier", "verifies"),
    "vanished": ("delete", "loader", "deletes"),
}
"""Of a file that waits: the stage, the kind of pod, and what that does."""


@dataclass(frozen=True, slots=True)
class Pods:
    """The live pods of one kind; `held_back` are those that take no work because a service is away, `since` the first of them
    does and `reason` what it says."""

    number: int = 0
    held_back: int = 0
    since: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What decides besides the file itself: the pods by kind, whether the job waits for its pre_job, how many files of it the
    guard of deletions holds back and up to when it let them go, and the stages that have no room under max_in_flight."""

    pods: Mapping[str, Pods]
    begun: bool = True
    deletes_held: int = 0
    deletes_cleared_at: datetime | None = None
    full: frozenset[str] = frozenset()

    def of(self, kind: str) -> Pods:
        """The pods of a kind."""
        return self.pods.get(kind, Pods())


_PODS = """
    SELECT kind::text AS kind, count(*)::int AS number, count(held_back)::int AS held_back, min(held_back_since) AS since,
        (array_agg(held_back ORDER BY held_back_since) FILTER (WHERE held_back IS NOT NULL))[1] AS reason
    FROM inventory.worker WHERE stopped_at IS NULL AND expired_at IS NULL GROUP BY kind
"""


def around(connection: Connection, job: Job) -> Around:
    """What a job's files depend on now. Takes no lock."""
    pods = {row.kind: Pods(row.number, row.held_back, row.since, row.reason) for row in connection.execute(text(_PODS))}
    row = connection.execute(
        text(f"SELECT {MAY_RUN} AS begun, deletes_held, deletes_cleared_at FROM inventory.job j WHERE id = :job"),
        {"job": job.id},
    ).one()
    full: frozenset[str] = frozenset()
    if job.settings.max_in_flight:
        shards = connection.execute(text("SELECT id FROM inventory.shard WHERE job_id = :job"), {"job": job.id})
        cap = Cap(job.id, job.settings.max_in_flight, list(shards.scalars()))
        full = flight.full(connection, cap)
    return Around(pods, row.begun, row.deletes_held, row.deletes_cleared_at, full)


def of_file(job: Job, file: dict[str, Any], directory: dict[str, Any], now: Around) -> Next:
    """What happens next to a file."""
    if file["state"] in ("loading", "verifying", "deleting"):
        gone = ", but was declared dead: it is taken back within seconds" if file["held_expired_at"] is not None else ""
        return f"pod {file['held_by']} is {file['state']} it{gone}", None
    if (nothing := _at_rest(job, file, directory)) is not None:
        return nothing
    if halted := _halted(job, now):
        return halted, None
    if file["settling"]:
        return _vanished(job, file, now) if file["state"] == "vanished" else _settling(job.settings, directory)
    stage, kind, does = STAGES[file["state"]]
    if file["retry_at"] is not None and not file["due"]:
        return f"it backs off after a failed attempt; then a {kind} {does} it{_held_back(now.of(kind))}", file[
            "retry_at"
        ]
    pods = now.of(kind)
    if not pods.number:
        return f"nothing before a {kind} pod runs: there is none now", None
    if pods.held_back == pods.number:
        return f"nothing before a service is back{_held_back(pods)}; each pod tries again at least once a minute", None
    if stage in now.full:
        limit = job.settings.max_in_flight
        return (
            f"it waits: {limit} files of the job may be in flight, and this stage's share of them is; `ingest job set`",
            None,
        )
    suspect = "; workers died over it, so it is run alone" if file["reaps"] >= 2 else ""
    remarks = suspect + _blocked(file, directory) + (_rate(job.settings) if stage == "load" else "") + _held_back(pods)
    return f"the next free one of {pods.number} {kind} pods {does} it{remarks}", None


def _at_rest(job: Job, file: dict[str, Any], directory: dict[str, Any]) -> Next | None:
    """What is said of a file to which nothing happens by itself."""
    match file["state"]:
        case "dead":
            return "nothing by itself: a dead letter waits for a person; remove the cause, then `ingest retry`", None
        case "verified":
            if job.state == "running" and directory.get("next_scan_at") is not None:
                return "nothing more to do; its directory is scanned again for changes", directory["next_scan_at"]
            return "nothing more to do", None
        case "skipped":
            return "nothing: by the job's rules there is nothing to do for it, until it changes at the source", None
        case "deleted":
            return "nothing: it is gone from the source and its object is removed", None
        case "vanished" if job.settings.delete_mode == "do_not_delete":
            return "nothing: it is gone from the source, and the job deletes nothing", None
    return None


def _halted(job: Job, now: Around) -> str | None:
    if job.state == "running":
        return None if now.begun else "nothing before the pre_job of the job's event handler is done"
    how = {
        "finished": f"`ingest job rescan {job.name}` looks again",
        "cancelled": "a cancelled job never goes on; start another one",
    }.get(job.state, f"`ingest job resume {job.name}` goes on")
    return f"nothing: the job is {job.state}; {how}"


def _settling(settings: JobSettings, directory: dict[str, Any]) -> Next:
    said = f"it is looked at again, and offered once it was unchanged for {settings.settle_seconds:g} s"
    return said, directory.get("next_scan_at")


def _vanished(job: Job, file: dict[str, Any], now: Around) -> Next:
    """A file that rests until the guard of deletions has judged it and its time of grace is over."""
    since, cleared = file["vanished_at"], now.deletes_cleared_at
    if since is not None and cleared is not None and since <= cleared:
        return f"its object is deleted once it was gone for {job.settings.delete_after_seconds:g} s", None
    if now.deletes_held:
        return (
            f"nothing by itself: {now.deletes_held} deletions of the job are held back as too many; if they are right,"
            f" `ingest job confirm-deletes {job.name}`"
        ), None
    return "it is judged, with all that is gone, when the pass has looked at all directories; then it is deleted", None


def _held_back(pods: Pods) -> str:
    if not pods.held_back:
        return ""
    since = f" since {pods.since:%Y-%m-%d %H:%M:%S} UTC" if pods.since else ""
    return f"; {pods.held_back} of {pods.number} pods hold back{since}: {pods.reason}"


def _blocked(file: dict[str, Any], directory: dict[str, Any]) -> str:
    if file["state"] == "discovered" and directory.get("collection_dead"):
        return "; its collection could not be made: see its directory's attempts"
    return ""


def _rate(settings: JobSettings) -> str:
    """What the job may be read with; the pods go by the time of their own time zone."""
    if settings.bandwidth is None:
        return ""
    rate = timetable.parse(settings.bandwidth).rate_at(datetime.now().astimezone())
    allowed = "with no limit now" if rate is None else f"with {readable.size(int(rate))}/s now"
    return f"; the job is read {allowed}, by its timetable {settings.bandwidth!r}"


def of_directory(job: Job, directory: dict[str, Any], now: Around) -> Next:
    """What happens next to a directory."""
    if directory["state"] == "scanning":
        return f"pod {directory['scanned_by']} is scanning it", None
    if directory["state"] == "dead":
        return "nothing by itself: it could not be scanned; remove the cause, then `ingest retry`", None
    if halted := _halted(job, now):
        return halted, None
    if directory["collection_dead"] and directory["state"] != "vanished":
        return "its collection could not be made; remove the cause, then `ingest retry`", None
    if directory["next_scan_at"] is None:
        return "nothing more to do", None
    if job.settings.manifest is not None:
        return f"its manifest is being read; if that broke off: `ingest job add {job.name} FILE`", None
    if not now.of("watcher").number:
        return "nothing before a watcher pod runs: there is none now", directory["next_scan_at"]
    return "a watcher scans it", directory["next_scan_at"]
