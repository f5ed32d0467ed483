"""Names that are no UTF-8, mapped names and quotes, with event handlers: loaded, told of, changed and deleted, each by itself."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from core.paths import escape
from tests.e2e.many import Many, handler
from tests.e2e.world import World

ODD, GRAVE, PLAIN, BELOW, RAISES = b"b\xff", b"gr`ave 'n\"", b"plain", b"d\xfe/x\xfd", b"raises\xff"
NAMES = (ODD, GRAVE, PLAIN, b"g`d/" + ODD, BELOW, RAISES)
GONE = (ODD, GRAVE, BELOW)
JOBS = {
    "copying": ("NO_TRASH", ("put_sync", "put", "put_append")),
    "registering": ("UNREGISTER", ("register_sync", "register_as_replica_sync")),
    "mapped": ("TRASH", ("put_sync",)),
}
"""By job its delete mode, and its operations, each for the files below a directory of its name."""
EVENTS = """
def tell(event, session, meta):
    from irods_capability_automated_ingest import sync_logging
    from irods_capability_automated_ingest.redis_utils import get_redis
    print(event, meta["path"])
    sync_logging.get_sync_logger(meta["config"]["log"]).info(event, path=meta["path"])
    import json
    told = {
        "event": event, "job": meta["job_name"], "path": b64encode(os.fsencode(meta["path"])).decode(),
        "target": meta["target"], "reason": meta.get("b64_reason"),
        "kept": (meta.get("b64_path_str") or meta.get("b64_path_str_charmap") or b"").decode(),
        "name": meta.get("unicode_error_filename"), "there": os.path.exists(meta["path"]),
        "count": get_redis(meta["config"]).incr(event + meta["path"]),
    }
    with open(NOTES, "a") as notes:
        notes.write(json.dumps(told) + "\\n")
def pre_data_obj_create(hdlr_mod, logger, session, meta, **options):
    if "raises" in meta["path"]:
        raise LookupError("not " + meta["path"] + "\\0")
    event_handler.tell("pre_create", session, meta)
def post_data_obj_create(hdlr_mod, logger, session, meta, **options):
    session.data_objects.get(meta["target"])
    event_handler.tell("post_create", session, meta)
def pre_data_obj_modify(hdlr_mod, logger, session, meta, **options):
    event_handler.tell("pre_modify", session, meta)
def post_data_obj_modify(hdlr_mod, logger, session, meta, **options):
    event_handler.tell("post_modify", session, meta)
def pre_data_obj_delete(hdlr_mod, session, meta, **options):
    event_handler.tell("pre_delete", session, meta)
def post_data_obj_delete(hdlr_mod, session, meta, **options):
    event_handler.tell("post_delete", session, meta)
"""


@pytest.fixture
def many(world: World, folder: Path) -> Many:
    return Many(world, folder)


def each(name: bytes) -> dict[str, set[bytes]]:
    """A name below each of the directories of each job."""
    return {
        job: {operation.encode() + b"/" + name for operation in operations} for job, (_, operations) in JOBS.items()
    }


def shown(name: bytes) -> str:
    return "/".join(map(escape, name.split(b"/")))


def begin(many: Many, source: Path, copies: Path, notes: Path) -> None:
    for job, (delete_mode, operations) in JOBS.items():
        for name in [name for one in NAMES for name in each(one)[job]]:
            path = os.fsencode(source / job) + b"/" + name
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(name)
            if job == "registering" and name.endswith(b"_sync/" + ODD):
                shutil.copy2(path, os.fsencode(copies / b64encode(path).decode().replace("/", "_")))
        # what is no UTF-8 has a path for iRODS elsewhere: its base64
        place = f"{str(copies)!r} + '/' + b64encode(os.fsencode(meta['path'])).decode().replace('/', '_')"
        text = handler(
            EVENTS.replace("NOTES", repr(str(notes))),
            operation=f"getattr(Operation, meta['path'][{len(str(source / job)) + 1}:].split('/')[0].upper() or "
            f"{operations[0].upper()!r})",
            delete_mode=f"DeleteMode.{delete_mode}",
            to_resource="'demoResc'",
            target_path=f"{place} if meta['path'].endswith('_sync/b\\udcff') else meta['path']",
            character_map="{re.compile('[^a-zA-Z0-9]'): '_'}" if job == "mapped" else None,
        )
        many.begin(job, source / job, text, max_delete_percent=100)


def test_odd_names_with_event_handlers(many: Many, source: Path, tmp_path: Path) -> None:
    world, notes, copies = many.world, tmp_path / "notes", source / "copies"
    copies.mkdir()
    begin(many, source, copies, notes)
    world.start("watcher", "loader", "verifier")
    many.finished(JOBS)
    every = {job: {name for one in NAMES for name in each(one)[job]} for job in JOBS}
    good = {job: every[job] - each(RAISES)[job] for job in JOBS}
    good["registering"] = {name for one in (ODD, GRAVE, PLAIN) for name in each(one)["registering"]}
    for job in JOBS:
        lines = many.lines(job)
        bad = ("dead", "bad_physical_path" if job == "registering" else "LookupError")
        assert {path: (line.state, line.error) for path, line in lines.items()} == {
            shown(name): ("verified", None) if name in good[job] else bad for name in every[job]
        }
    events = [json.loads(line) for line in notes.read_text().splitlines()]
    told = {(job, name) for job in JOBS for name in good[job]}
    assert check_events(many, source, events) == {"pre_create": told, "post_create": told}
    objects = {event["target"].removeprefix(f"{world.target}/") for event in events}
    assert world.objects() == objects
    check_metadata(many, source, events)

    later = b"g`d/" + ODD
    for job in JOBS:
        root = os.fsencode(source / job) + b"/"
        for name in [name for one in GONE for name in each(one)[job]]:
            os.unlink(root + name)
        for name in each(later)[job]:
            with open(root + name, "ab") as file:
                file.write(b" and more")
    notes.write_text("")
    many.rescan(JOBS)
    by_event = check_events(many, source, [json.loads(line) for line in notes.read_text().splitlines()], gone=GONE)
    deleted = {(job, name) for job in JOBS for one in GONE for name in each(one)[job] & good[job]}
    # put leaves it alone, and what cannot be registered is not there
    changed = {
        (job, name) for job in ("copying", "mapped") for name in each(later)[job] if not name.startswith(b"put/")
    }
    assert by_event == {"pre_delete": deleted, "post_delete": deleted, "pre_modify": changed, "post_modify": changed}
    gone = {
        event["target"].removeprefix(f"{world.target}/")
        for event in events
        if (event["job"], of(event, source)) in deleted
    }
    assert world.objects() == objects - gone
    with world.irods() as session:
        for operation in ("put_sync", "put"):
            with session.data_objects.open(f"{many.target('copying')}/{operation}/{shown(later)}", "r") as file:
                more = b" and more" if operation == "put_sync" else b""
                assert file.read() == operation.encode() + b"/" + later + more
    world.stop()


def of(event: dict[str, Any], source: Path) -> bytes:
    """The name below its job's source of what an event was told of."""
    return b64decode(event["path"]).removeprefix(os.fsencode(source / event["job"]) + b"/")


def has_other_name(job: str, name: bytes) -> tuple[bool, bool]:
    """Whether a name is escaped, and whether it is mapped."""
    return escape(name).encode() != name, job == "mapped" and not name.endswith(PLAIN)


def check_events(
    many: Many, source: Path, events: list[dict[str, Any]], gone: tuple[bytes, ...] = ()
) -> dict[str, set[tuple[str, bytes]]]:
    """By event the job and the name of each that was told, once each and with the whole of meta."""
    by_event: dict[str, set[tuple[str, bytes]]] = {}
    for event in events:
        name, told = of(event, source), by_event.setdefault(event["event"], set())
        assert (event["job"], name) not in told
        told.add((event["job"], name))
        assert event["count"] == 1
        assert bool(event["there"]) == (name.partition(b"/")[2] not in gone)
        escaped, mapped = has_other_name(event["job"], name)
        assert event["reason"] == ("UnicodeEncodeError" if escaped else "character_map" if mapped else None)
        assert event["kept"] == (event["path"] if escaped or mapped else "")
        assert event["name"] == (event["target"].rpartition("/")[2] if escaped else None)
        if event["job"] != "mapped":
            assert event["target"] == f"{many.target(event['job'])}/{shown(name)}"
    return by_event


def check_metadata(many: Many, source: Path, events: list[dict[str, Any]]) -> None:
    """The path at the source is kept with each object that has another name."""
    attributes = ("UnicodeEncodeError", "character_map")
    with many.world.irods() as session:
        for event in [event for event in events if event["event"] == "post_create"]:
            found = session.data_objects.get(event["target"]).metadata.items()
            other = dict(zip(attributes, has_other_name(event["job"], of(event, source)), strict=True))
            assert {(avu.name, avu.value) for avu in found} == {
                (f"irods::automated_ingest::{why}", event["path"]) for why, is_so in other.items() if is_so
            }
