"""What a helper process does with the items of one job: asks the handler, and does the work between its events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, assert_never

from core import handlers
from core.errors import FileError
from core.handlers.api import COLLECTION_EVENTS, DELETE_EVENTS, FILE_EVENTS
from core.handlers.loaded import Handler, HandlerFailed
from core.irods import AVU, plain_session
from core.outcome import Done, Outcome, Skipped, outcome_of
from core.paths import split
from core.settings import Settings
from inventory.claims import ClaimedFile
from inventory.collections import ClaimedCollection
from inventory.jobs import Job
from inventory.passes import ClaimedEvent
from loader.collections import Gone
from loader.connection import Connections
from loader.delete import Deletion, delete, last_look
from loader.files import FileWork
from loader.handlers import contexts
from loader.handlers.messages import Item, Rules
from loader.handlers.placed import Placed
from loader.load import Notes
from loader.notes import kept_name

Extract = Callable[[handlers.Context], Any]


class _NotDone(Exception):
    """The work between two events had another outcome than Done: what comes after it is not told."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


class JobWork:
    """The work of one job in one helper process; not for several threads."""

    def __init__(
        self,
        job: Job,
        handler: Handler | None,
        extract: Extract | None,
        settings: Settings,
    ) -> None:
        self.bytes_a_second: float | None = None
        """How fast the files may be read."""
        self._handler = handler
        self._extract = extract
        self._settings = settings.irods.model_copy(update={"streams": 1})  # nobody lends a helper more connections
        self._timeout = settings.loader.handler_timeout_seconds
        self._connections = Connections(self._settings, settings.s3, lambda _: self.bytes_a_second)
        self._files = FileWork(self._connections)
        self._sessions: dict[tuple[str, str] | None, Any] = {}
        self._places: dict[str, str] = {}
        self._connections.places = lambda source: Placed(source, self._places)
        if handler is not None and (mapped := handler.character_map()) is not None:
            self._connections.names = mapped.path
        self._connections.notes = self._notes

    def rules(self, job: Job, item: Item) -> Rules:
        """The handler's say on an attempt. Raises HandlerFailed."""
        handler = self._handler
        own = 0 if handler is not None and handler.strict else None
        if handler is None or isinstance(item, ClaimedEvent):
            return Rules(self._timeout, None, own)
        context = self._context(job, item, session=None)
        seconds = handler.ask("timeout", context)
        retries = handler.ask("max_retries", context)
        attempt = context.attempt
        delay = handler.ask("delay", context, attempt) if retries is not None else None
        return Rules(seconds or self._timeout, retries, own if retries is None else retries, delay or 0.0)

    def do(self, job: Job, item: Item) -> Outcome:
        """Do one item. Raises FileError, HandlerFailed among them."""
        self._places.clear()
        try:
            if isinstance(item, ClaimedFile):
                return self._file(job, item)
            if isinstance(item, Deletion):
                return self._deletion(job, item)
            if isinstance(item, ClaimedCollection):
                return self._collection(job, item)
            if isinstance(item, Gone):
                return self._gone(job, item)
            if isinstance(item, ClaimedEvent):
                return self._event(job, item)
            assert_never(item)
        except _NotDone as other:
            return other.outcome

    def many(self, job: Job, files: Sequence[ClaimedFile]) -> list[Outcome]:
        """Load small files, together those of which the handler says the same; one outcome a file, in order."""
        self._places.clear()
        outcomes: dict[int, Outcome] = {}
        groups: dict[Hashable, tuple[Job, list[int]]] = {}
        for number, file in enumerate(files):
            try:
                answered = self._answered(job, file)
                self._ensure_collection(answered, file)
            except FileError as error:
                outcomes[number] = outcome_of(error)
                continue
            said = answered.settings
            key = (said.operation, said.resource, said.as_user)
            groups.setdefault(key, (answered, []))[1].append(number)
        for answered, numbers in groups.values():
            of_group = [files[number] for number in numbers]
            if answered.settings.operation in ("no_op", "put_append"):
                done = [self._one(answered, file) for file in of_group]
            else:
                done = self._by_freshness(answered, of_group)
            outcomes |= zip(numbers, done, strict=True)
        return [outcomes[number] for number in range(len(files))]

    def close(self) -> None:
        """Close what is open."""
        self._connections.close()
        for session in self._sessions.values():
            session.cleanup()

    def _by_freshness(self, job: Job, files: Sequence[ClaimedFile]) -> list[Outcome]:
        """Load together; of a job that leaves existing objects alone only files of one kind, new or tried before."""
        apart = job.settings.operation == "put"
        outcomes: dict[int, Outcome] = {}
        for fresh in (True, False) if apart else (None,):
            numbers = [n for n, file in enumerate(files) if fresh is None or file.fresh == fresh]
            if numbers:
                outcomes |= zip(numbers, self._files.load_many(job, [files[n] for n in numbers]), strict=True)
        return [outcomes[number] for number in range(len(files))]

    def _one(self, job: Job, file: ClaimedFile) -> Outcome:
        try:
            return self._files.load(job, file)
        except FileError as error:
            return outcome_of(error)

    def _hears(self, *events: str) -> bool:
        return self._handler is not None and not set(events).isdisjoint(self._handler.overrides)

    def _session(self, job: Job) -> Any:
        """A session for the user of a job, for the handler; None where there is none to give it to."""
        if self._handler is None:
            return None
        user = job.settings.client
        if user not in self._sessions:
            self._sessions[user] = plain_session(self._settings, user)
        return self._sessions[user]

    def _context(self, job: Job, item: Item, *, session: Any) -> handlers.Context:
        if isinstance(item, ClaimedEvent):
            return contexts.of_job(job, item, session)
        if isinstance(item, ClaimedCollection | Gone):
            collection = item.collection if isinstance(item, Gone) else item
            return contexts.of_collection(job, collection, self._connections.path(job, collection.path), session)
        file = item.file if isinstance(item, Deletion) else item
        return contexts.of_file(
            job, file, self._connections.path(job, file.path), self._connections.source(job), session
        )

    def _answered(self, job: Job, item: ClaimedFile | ClaimedCollection | Deletion | Gone) -> Job:
        """The job as the handler wants it for one item."""
        handler = self._handler
        if handler is None:
            return job
        changes: dict[str, Any] = {}
        if "as_user" in handler.overrides:
            zone_and_user = handler.ask("as_user", self._context(job, item, session=None))
            if zone_and_user is not None:
                changes["as_user"] = f"{zone_and_user[1]}#{zone_and_user[0]}"
                job = _with(job, changes)
        context = self._context(job, item, session=self._session(job))
        if operation := handler.ask("operation", context):
            changes["operation"] = operation
        if isinstance(item, ClaimedFile):
            if resource := handler.ask("to_resource", context):
                changes["resource"] = resource
            if place := handler.ask("target_path", context):
                self._places[item.path] = place
        return _with(job, changes)

    def _notes(self, job: Job, file: ClaimedFile) -> Notes:
        """The metadata and access of a file. Raises HandlerFailed for what the extracting function raises."""
        kept = kept_name(job, file, self._connections.names)
        if self._extract is None:
            return kept
        context = contexts.of_file(job, file, self._connections.path(job, file.path), self._connections.source(job))
        try:
            returned = self._extract(context)
            if not isinstance(returned, handlers.Annotations):
                returned = handlers.Annotations(returned or ())
            metadata = [AVU(*map(str, avu)) for avu in returned.metadata]
            acl = [(str(who), str(level)) for who, level in returned.acl]
        except (Exception, SystemExit) as error:  # a function of somebody's, whatever it raises
            words = f"extract_metadata raised {type(error).__name__}: {error}"
            raise HandlerFailed(type(error).__name__, words) from error
        return Notes([*kept.metadata, *metadata], [*kept.acl, *acl])

    def _file(self, job: Job, file: ClaimedFile) -> Outcome:
        answered = self._answered(job, file)
        self._ensure_collection(answered, file)
        handler = self._handler
        if handler is None or not self._hears(*FILE_EVENTS):
            return self._files.load(answered, file)
        event = self._event_of(answered, file)
        if event is None:
            return self._files.load(answered, file)
        # what comes before an object is made may look at its collection already, as in automated ingest
        if not file.collection_made:
            self._connections.make_collection(answered, file.directory)
        result: list[Outcome] = []

        def work() -> None:
            result.append(self._files.load(answered, file))
            if not isinstance(result[0], Done) and answered.settings.operation != "no_op":
                raise _NotDone(result[0])

        context = self._context(answered, file, session=self._session(answered))
        handler.around(event, context, work)
        # a method that took the whole event over may not have called the work at all
        return result[0] if result else Skipped(f"the event handler did not let {event} go on")

    def _ensure_collection(self, job: Job, file: ClaimedFile) -> None:
        """Make the collection with its events where that has failed before: its reason is the file's as well."""
        if not file.collection_made and self._hears(*COLLECTION_EVENTS):
            self._collection(job, ClaimedCollection(file.directory_id, job.id, file.shard, file.directory, begun=True))

    def _event_of(self, job: Job, file: ClaimedFile) -> str | None:
        """Whether loading a file makes or changes an object; None when it will do neither."""
        path = self._connections.path(job, file.path)
        there = self._connections.gateway(job).replicas(path)
        operation = job.settings.operation
        if operation.startswith("register"):
            physical = self._connections.source(job).physical_path(file.path)  # nothing is told of what has none
        if operation == "register_as_replica_sync":
            there = [replica for replica in there if replica.physical_path == physical]
        # an attempt of ours that failed half way may have made it: then it is still being made
        ours = not file.fresh and file.generation == 1 and file.checksum is None
        if operation == "put" and there and not ours and not file.is_reload:
            return None  # it is left alone
        return "data_obj_modify" if there and not ours else "data_obj_create"

    def _deletion(self, job: Job, item: Deletion) -> Outcome:
        answered = self._answered(job, item) if self._hears("as_user") else job
        handler = self._handler
        if handler is None or not self._hears(*DELETE_EVENTS):
            return delete(self._connections, answered, item.file)
        if (kept := last_look(self._connections, answered, item.file)) is not None:
            return kept
        never_loaded = item.file.generation == 1 and item.file.checksum is None
        path = self._connections.path(answered, item.file.path)
        if never_loaded and not self._connections.gateway(answered).replicas(path):
            return Done()  # nobody is told of what was never there
        result: list[Outcome] = []

        def work() -> None:
            result.append(delete(self._connections, answered, item.file))
            if not isinstance(result[0], Done):
                raise _NotDone(result[0])

        handler.around("data_obj_delete", self._context(answered, item, session=self._session(answered)), work)
        return result[0] if result else Skipped("the event handler did not let data_obj_delete go on")

    def _collection(self, job: Job, item: ClaimedCollection) -> Outcome:
        answered = self._answered(job, item)
        handler = self._handler
        if handler is None or not self._hears(*COLLECTION_EVENTS):
            return self._connections.make_collection(answered, item.path)
        gateway, nothing = self._connections.gateway(answered), answered.settings.operation == "no_op"
        session = self._session(answered)
        context = self._context(answered, item, session=session)
        path = context.logical_path
        there = gateway.has_collection(path)
        if there and item.changed:
            handler.around("coll_modify", context, lambda: None)
            return Done()
        if there and not item.begun:
            return Done(existed=True)
        missing = [path]
        while not nothing and not item.path and (above := split(missing[0])[0]).count("/") > 1:
            if gateway.has_collection(above):
                break
            missing.insert(0, above)  # what is missing above the job's target belongs to its making
        for level in missing:

            def work(level: str = level) -> None:
                if not nothing:
                    gateway.make_collections(level)

            handler.around("coll_create", dataclasses.replace(context, logical_path=level), work)
        return Done()

    def _gone(self, job: Job, item: Gone) -> Outcome:
        answered = self._answered(job, item) if self._hears("as_user") else job
        handler = self._handler
        if not item.collection.path:
            return Done()
        context = self._context(answered, item, session=self._session(answered))
        gateway = self._connections.gateway(answered)

        def work() -> None:
            gateway.remove_empty_collection(context.logical_path)
            self._connections.forget_collection(context.logical_path)

        if handler is None or not self._hears(*DELETE_EVENTS):
            work()
        elif gateway.is_empty_collection(context.logical_path):
            # what others have put there keeps the collection; it is not ours any more
            handler.around("coll_delete", context, work)
        return Done()

    def _event(self, job: Job, item: ClaimedEvent) -> Outcome:
        if self._handler is not None:
            self._handler.tell(item.event, contexts.of_job(job, item, self._session(job)))
        return Done()


def _with(job: Job, changes: dict[str, Any]) -> Job:
    return dataclasses.replace(job, settings=job.settings.model_copy(update=changes)) if changes else job
