"""The application: REST and pages over one inventory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import text
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from core.errors import SchemaError, Unavailable, UsageError
from inventory.engine import Database
from inventory.web.access import Access, Limits
from inventory.web.answers import problem
from inventory.web.pages import LogicalPath, Pages
from inventory.web.rest import Rest, SourceOf, Start, refused

HERE = Path(__file__).parent


def create_app(
    database: Database,
    start: Start,
    access: Access,
    source_of: SourceOf,
    logical_path: LogicalPath,
    *,
    body_bytes: int = 65_536,
    requests_per_minute: int = 600,
) -> Starlette:
    """The whole site. `start` is how a job is started, with all the checks of the command line, `source_of` what is
    behind its URL, `logical_path` how a file of it is called in iRODS; `database` is closed with it."""
    rest, pages = Rest(database, start, access, source_of), Pages(database, access, logical_path)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        database.close()

    return Starlette(
        routes=[
            Route("/livez", _live, methods=["GET"]),
            Route("/readyz", partial(_ready, database), methods=["GET"]),
            *rest.routes(),
            *pages.routes(),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[Middleware(Limits, body_bytes=body_bytes, requests_per_minute=requests_per_minute)],
        exception_handlers={
            UsageError: refused,
            Unavailable: _away,
            SchemaError: _away,
            HTTPException: _http_problem,
            Exception: _defect,
        },
        lifespan=lifespan,
    )


def _ready(database: Database, request: Request) -> Response:
    with database.begin() as connection:
        connection.execute(text("SELECT 1"))
    return Response("ok\n", media_type="text/plain")


async def _live(request: Request) -> Response:
    return Response("ok\n", media_type="text/plain")


async def _away(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unavailable | SchemaError)
    return problem(503, error.message, error.hint)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = problem(error.status_code, error.detail.lower(), "see /openapi.json")
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _defect(request: Request, error: Exception) -> Response:
    return problem(500, f"unexpected {type(error).__name__}", "see the log of this server")
