"""The REST interface: jobs as resources, with the verbs automated ingest had, and some more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import FileError, Outage, UsageError
from core.sources.base import Placing, Source
from core.sources.notices import notices_of
from inventory import jobs, noticed, retries
from inventory.engine import Database
from inventory.failures import Wanted
from inventory.jobs import Job
from inventory.standing import standings
from inventory.web import bodies
from inventory.web.access import Access, unauthorized
from inventory.web.answers import problem
from inventory.web.failing import MOST_FILES, failing
from inventory.web.figures import figures
from inventory.web.openapi import document

Start = Callable[[str | None, str, str, dict[str, object]], Job]
"""Starts a job by name (None: choose one), source, collection and settings keyed `job.…`, after all checks. Raises UsageError."""
SourceOf = Callable[[str], Source]
"""The source behind a job's URL. Raises UsageError."""
Handler = Callable[[Request], Awaitable[Response]]
ACTOR = "rest"
VERBS = {"pause": "paused", "resume": "running", "cancel": "cancelled"}
"""What can be asked of a job, and the state it is in then."""


class Rest:
    """Handlers of the routes below /job; each answer is JSON."""

    def __init__(self, database: Database, start: Start, access: Access, source_of: SourceOf) -> None:
        self._source_of = source_of
        self._database = database
        self._start = start
        self._access = access

    def routes(self) -> list[Route]:
        """Where what is answered."""
        return [
            Route("/openapi.json", self.openapi, methods=["GET"]),
            _route("/job", {"GET": self.listed, "PUT": self.started}),
            _route(
                "/job/{name}",
                {"GET": self.shown, "PUT": self.started, "PATCH": self.changed, "DELETE": self.to_state("stopped")},
            ),
            *(Route(f"/job/{{name}}/{verb}", self.to_state(state), methods=["POST"]) for verb, state in VERBS.items()),
            Route("/job/{name}/retry", self.retried, methods=["POST"]),
            Route("/job/{name}/notices", self.noticed, methods=["POST"]),
            Route("/job/{name}/failures", self.failing, methods=["GET"]),
        ]

    async def openapi(self, request: Request) -> Response:
        """What this interface can do (OpenAPI 3.1)."""
        return JSONResponse(document(control=self._access.can_control, private=self._access.private))

    async def listed(self, request: Request) -> Response:
        """GET /job: all jobs and how far they are."""
        if not self._access.may_read(request):
            return unauthorized()
        found = await run_in_threadpool(standings, self._database)
        return JSONResponse(bodies.Jobs(jobs=[figures(standing) for standing in found]).model_dump())

    async def shown(self, request: Request) -> Response:
        """GET /job/NAME."""
        if not self._access.may_read(request):
            return unauthorized()
        found = await run_in_threadpool(standings, self._database, request.path_params["name"])
        return JSONResponse(figures(found[0]).model_dump()) if found else _unknown(request)

    async def started(self, request: Request) -> Response:
        """PUT /job, PUT /job/NAME: start a job; 201 and its name."""
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        try:
            found = bodies.parse(await request.body(), request.headers.get("content-type", ""))
        except TypeError as error:
            return _unknown_type(error)
        chosen = bodies.job_start(found, request.path_params.get("name"))
        if chosen[0] is not None and await run_in_threadpool(jobs.find, self._database, chosen[0]) is not None:
            return problem(409, f"job {chosen[0]!r} exists already", "choose another name, or delete it first")
        try:
            job = await run_in_threadpool(self._start, *chosen)
        except UsageError as error:  # well said, but not possible as things are
            return problem(409, error.message, error.hint)
        return JSONResponse(bodies.Created(job=job.name).model_dump(), status_code=201)

    def to_state(self, state: str) -> Handler:
        """What answers DELETE /job/NAME (it is stopped, its rows stay) and POST /job/NAME/pause, resume, cancel."""

        async def answer(request: Request) -> Response:
            try:
                return await self._change(
                    request, lambda job: jobs.set_state(self._database, job.id, state, actor=ACTOR)
                )
            except UsageError as error:  # there is no way from the state it is in
                return problem(409, error.message, error.hint)

        return answer

    async def changed(self, request: Request) -> Response:
        """PATCH /job/NAME: settings that may change while it runs."""
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        try:
            found = bodies.parse(await request.body(), request.headers.get("content-type", ""))
        except TypeError as error:
            return _unknown_type(error)
        changes = bodies.change(found)
        return await self._change(request, lambda job: jobs.set_settings(self._database, job.id, changes, actor=ACTOR))

    async def retried(self, request: Request) -> Response:
        """POST /job/NAME/retry: dead letters, or what the body says, are due again."""
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        body = await request.body()
        kind = request.headers.get("content-type", "application/json")
        try:
            wanted = bodies.retry(bodies.parse(body, kind) if body.strip() else {})
        except TypeError as error:
            return _unknown_type(error)

        def retry(job: Job) -> bodies.Retried:
            prefixes = (wanted.prefix,) if wanted.prefix else ()
            chosen = Wanted(job=job.name, states=wanted.states, errors=wanted.errors, prefixes=prefixes)
            done = retries.retry(self._database, chosen, actor=ACTOR)
            return bodies.Retried(files=done.files, directories=done.directories)

        return await self._change(request, retry)

    async def failing(self, request: Request) -> Response:
        """GET /job/NAME/failures?error=CLASS&limit=100: what fails, by class, and the first files."""
        if not self._access.may_read(request):
            return unauthorized()
        asked = request.query_params.get("limit", "100")
        if not (asked.isascii() and asked.isdigit() and len(asked) < 6 and int(asked) <= MOST_FILES):
            return problem(400, f"limit is not a whole number up to {MOST_FILES}", "leave it out for 100")
        name, error = request.path_params["name"], request.query_params.get("error")
        if await run_in_threadpool(jobs.find, self._database, name) is None:
            return _unknown(request)
        found = await run_in_threadpool(lambda: failing(self._database, name, error=error, limit=int(asked)))
        return JSONResponse(found.model_dump())

    async def noticed(self, request: Request) -> Response:
        """POST /job/NAME/notices: a bucket tells of objects that were put or removed; 204 when the inventory knows."""
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        body = await request.body()
        try:
            bodies.Notices.model_validate_json(body)
            notices = notices_of(body)
        except ValueError as error:
            raise UsageError(f"no events of S3: {' '.join(str(error).split())[:200]}", "see docs/s3.md") from None

        def tell(job: Job) -> None:
            source = self._source_of(job.source_url)
            listed = (
                job.state in ("running", "paused") and job.settings.rescan_seconds and job.settings.manifest is None
            )
            if not listed or not job.source_url.startswith("s3://") or not isinstance(source, Placing):
                raise UsageError(
                    f"job {job.name!r} does not wait for notices", "one that lists a bucket with --rescan does"
                )
            if noticed.bring(self._database, job, source, noticed.look(source, job, notices)):
                raise Outage("first_listing", "the directory is listed for the first time", "tell it again later")

        try:
            return await self._change(request, tell)
        except UsageError as error:
            return problem(409, error.message, error.hint)
        except FileError as error:
            answer = problem(503, error.message, error.hint or "tell it again later")
            answer.headers["Retry-After"] = "10"
            return answer

    async def _change(self, request: Request, change: Callable[[Job], Any]) -> Response:
        if (refusal := self._access.refusal(request)) is not None:
            return refusal
        job = await run_in_threadpool(jobs.find, self._database, request.path_params["name"])
        if job is None:
            return _unknown(request)
        done = await run_in_threadpool(change, job)
        return JSONResponse(done.model_dump()) if isinstance(done, bodies.Shape) else Response(status_code=204)


def _route(path: str, handlers: Mapping[str, Handler]) -> Route:
    """One route for all methods of a path: so the header Allow names them all."""

    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return Route(path, handle, methods=list(handlers))


def _unknown_type(error: TypeError) -> JSONResponse:
    return problem(415, f"content type {error} is not known", f"send one of {', '.join(bodies.TYPES)}")


def _unknown(request: Request) -> JSONResponse:
    return problem(404, f"there is no job {request.path_params['name']!r}", "see GET /job")


async def refused(request: Request, error: Exception) -> Response:
    """What a person got wrong: 400 and the words of the command line."""
    assert isinstance(error, UsageError)
    return problem(400, error.message, error.hint)
