"""The pages: read-only, but for a few buttons of who has signed in with the control token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from core import hints, readable
from core.errors import UsageError
from inventory import activity, jobs, queries
from inventory.engine import Database
from inventory.explain import Explained, explain
from inventory.jobs import Job
from inventory.standing import Standing, standings
from inventory.web import charts
from inventory.web.access import COOKIE, Access, is_same_origin
from inventory.web.bodies import FailedFile, FailureClass
from inventory.web.failing import MOST_FILES, classes_of, files_of
from inventory.web.shared import Kept, Shared
from inventory.web.trace import trace

LogicalPath = Callable[[Explained], tuple[str | None, str | None]]
"""What a file is called in iRODS, None where nobody here can say, and a remark about that."""
MINUTES = (15, 60, 360, 1440, 2880)
"""The stretches of time a chart can show."""
SIGNED_IN_SECONDS = 12 * 3600


def _environment() -> Environment:
    folder = Path(__file__).with_name("templates")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": readable.size,
        "count": readable.count,
        "rate": readable.rate,
        "span": readable.span,
        "moment": readable.moment,
        "part": lambda text: quote(text, safe=""),
    }
    return environment


class Pages:
    """Handlers of what a browser asks for."""

    def __init__(self, database: Database, access: Access, logical_path: LogicalPath) -> None:
        self._database = database
        self._access = access
        self._logical_path = logical_path
        self._counts: Shared[str, list[FailureClass]] = Shared(lambda job: classes_of(database, job))
        self._files: Shared[tuple[str, str | None], list[FailedFile]] = Shared(
            lambda wanted: files_of(database, wanted[0], wanted[1], MOST_FILES), at_once=2
        )
        self._templates = _environment()

    def routes(self) -> list[Route]:
        """Where what is shown."""
        return [
            Route("/", self.overview, methods=["GET"]),
            Route("/jobs/{name}", self.job, methods=["GET"]),
            Route("/jobs/{name}/failures", self.failures, methods=["GET"]),
            Route("/jobs/{name}/file", self.file, methods=["GET"]),
            Route("/jobs/{name}/{verb:str}", self.control, methods=["POST"]),
            Route("/workers", self.workers, methods=["GET"]),
            Route("/timeline.json", self.trace, methods=["GET"]),
            Route("/sign-in", self.sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
        ]

    async def overview(self, request: Request) -> Response:
        """All jobs and what is being done."""

        def look() -> dict[str, Any]:
            return {
                "standings": standings(self._database)[::-1],
                "charts": self._charts(None, minutes),
                "share": _share,
                "minutes": minutes,
            }

        minutes = _minutes(request)
        return await self._page(request, "overview.html", look)

    async def job(self, request: Request) -> Response:
        """One job: counts, rates, what fails."""
        name = request.path_params["name"]
        minutes = _minutes(request)

        def look() -> dict[str, Any] | None:
            found = standings(self._database, name)
            if not found:
                return None
            return {
                "standing": found[0],
                "states": [state for state in queries.STATES if state in found[0].states],
                "charts": self._charts(name, minutes),
                "share": _share,
                "counted": self._counts.of(name),
                "unfinished": queries.unfinished(self._database, name),
                "directories": queries.failed_directories(self._database, name)[:100],
                "minutes": minutes,
            }

        return await self._page(request, "job.html", look)

    async def failures(self, request: Request) -> Response:
        """The files of one class of failure, or of all."""
        name, error = request.path_params["name"], request.query_params.get("error") or None

        def look() -> dict[str, Any] | None:
            if jobs.find(self._database, name) is None:
                return None
            counted = self._counts.of(name)
            return {
                "name": name,
                "error": error,
                "counted": counted,
                "found": self._files_of(name, error, counted),
                "most": MOST_FILES,
            }

        return await self._page(request, "failures.html", look)

    async def file(self, request: Request) -> Response:
        """All that is known of one file."""
        name, path = request.path_params["name"], request.query_params.get("path", "").rstrip("/")

        def look() -> dict[str, Any] | None:
            job = jobs.find(self._database, name)
            if job is None or "\0" in path:
                return None
            told = explain(self._database, job, path)
            place = readable.printable(told.place)
            advice = {one.error: hints.advice(one.error) for one in told.attempts}
            return {"name": name, "told": told, "place": place, "irods": self._logical_path(told), "hints": advice}

        return await self._page(request, "file.html", look)

    async def workers(self, request: Request) -> Response:
        """Leases, and what each worker did."""
        minutes = _minutes(request)

        def look() -> dict[str, Any]:
            spans = activity.spans(self._database, minutes=minutes)
            return {
                "workers": activity.workers(self._database, minutes=minutes),
                "time_line": Markup(charts.time_line(spans, datetime.now(UTC), minutes)),
                "minutes": minutes,
            }

        return await self._page(request, "workers.html", look)

    async def trace(self, request: Request) -> Response:
        """The time line for chrome://tracing."""
        if not self._access.may_read(request):
            return self._to_sign_in(request)
        minutes = _minutes(request)
        spans = await run_in_threadpool(lambda: activity.spans(self._database, minutes=minutes))
        return JSONResponse(trace(spans), headers={"Content-Disposition": 'attachment; filename="timeline.json"'})

    async def control(self, request: Request) -> Response:
        """A button: pause, resume, stop."""
        if not self._access.is_signed_in(request) or not is_same_origin(request):
            return self._to_sign_in(request)
        states = {"pause": "paused", "resume": "running", "stop": "stopped"}
        name, verb = request.path_params["name"], request.path_params["verb"]
        job = await run_in_threadpool(jobs.find, self._database, name)
        if job is None or verb not in states:
            return await self._missing(request)
        try:
            await run_in_threadpool(self._set, job, states[verb])
        except UsageError as error:
            return self._render(request, "refused.html", {"error": error}, 409)
        return RedirectResponse(f"/jobs/{quote(name, safe='')}", status_code=303)

    def _set(self, job: Job, state: str) -> None:
        jobs.set_state(self._database, job.id, state, actor="status page")

    async def sign_in(self, request: Request) -> Response:
        """Ask for the control token; a cookie that no script can read keeps who knew it."""
        if request.method == "GET":
            return self._render(request, "sign_in.html", {"wrong": False})
        given = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
        if not self._access.is_token(given.strip()) or not is_same_origin(request):
            return self._render(request, "sign_in.html", {"wrong": True}, 401)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            COOKIE,
            self._access.session,
            max_age=SIGNED_IN_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """Forget who this is."""
        answer = RedirectResponse("/", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    def _files_of(
        self, job: str, error: str | None, counted: Kept[list[FailureClass]] | None
    ) -> Kept[list[FailedFile]] | None:
        """The files of a class, or of all; a class that nothing fails with is not searched for."""
        if counted is None:
            return None
        if error is not None and error not in {one.error for one in counted.value}:
            return Kept([], counted.at, counted.keep_until)
        return self._files.of((job, error))

    def _charts(self, job: str | None, minutes: float) -> list[Markup]:
        now = datetime.now(UTC)
        paces = activity.paces(self._database, minutes=minutes, job=job)
        files = charts.rates(
            paces, now, minutes, "Files a second", lambda pace: pace.files_per_second, readable.rate, 1000
        )
        data = charts.rates(
            paces, now, minutes, "Bytes a second", lambda pace: pace.bytes_per_second, readable.size, 1024
        )
        return [Markup(files), Markup(data)]

    async def _page(self, request: Request, template: str, look: Callable[[], dict[str, Any] | None]) -> Response:
        if not self._access.may_read(request):
            return self._to_sign_in(request)
        found = await run_in_threadpool(look)
        return await self._missing(request) if found is None else self._render(request, template, found)

    def _render(self, request: Request, template: str, values: dict[str, Any], status: int = 200) -> HTMLResponse:
        common = {
            "path": request.url.path,
            "query": request.url.query,
            "choices": MINUTES,
            "can_control": self._access.can_control,
            "signed_in": self._access.is_signed_in(request),
            "now": datetime.now(UTC),
        }
        return HTMLResponse(self._templates.get_template(template).render(common | values), status_code=status)

    async def _missing(self, request: Request) -> Response:
        return self._render(request, "missing.html", {}, 404)

    def _to_sign_in(self, request: Request) -> Response:
        return RedirectResponse("/sign-in", status_code=303)


def _share(standing: Standing) -> Markup:
    return Markup(charts.share({state: amount.files for state, amount in standing.states.items()}))


def _minutes(request: Request) -> float:
    """How much of the past to show; nonsense gives the first choice."""
    asked = request.query_params.get("minutes", "")
    return float(asked) if asked.isdigit() and int(asked) in MINUTES else float(MINUTES[0])
