"""Who may do what: reading is open or by token, control is by token always; bodies and rates have limits."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inventory.web.answers import problem

COOKIE = "ingest_control"
_CLIENTS = 10_000
"""So many clients' rates are remembered; the one that was silent longest is forgotten first."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Nothing from elsewhere is ever loaded, and no other site may frame the page."""


class Access:
    """The control token, and whether reading needs it too. Without a token nobody may change anything."""

    def __init__(self, token: str | None, *, private: bool) -> None:
        self._digest = sha256(token.encode()).digest() if token else None
        self._session = hmac.new(token.encode(), b"session", sha256).hexdigest() if token else None
        self.private = private

    @property
    def can_control(self) -> bool:
        """Whether there is a token at all."""
        return self._digest is not None

    def is_token(self, given: str) -> bool:
        """Whether that is the token; takes as long for a wrong one."""
        return self._digest is not None and hmac.compare_digest(sha256(given.encode()).digest(), self._digest)

    @property
    def session(self) -> str:
        """What the cookie of a signed-in browser holds: not the token, but nobody has it who has not the token."""
        assert self._session is not None
        return self._session

    def has_bearer(self, request: Request) -> bool:
        """Whether the request carries the token (RFC 6750)."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def is_signed_in(self, request: Request) -> bool:
        """Whether a browser with our cookie asks."""
        given = request.cookies.get(COOKIE, "")
        return self._session is not None and hmac.compare_digest(given.encode(), self._session.encode())

    def may_read(self, request: Request) -> bool:
        """Whether reading is open, or the request proves that it may."""
        return not self.private or self.has_bearer(request) or self.is_signed_in(request)

    def refusal(self, request: Request) -> Response | None:
        """The answer to who may not change anything by REST, where a cookie is no proof; None for who may."""
        if self.has_bearer(request):
            return None
        if not self.can_control:
            return problem(403, "this server is read-only", "set web.token_file or WEB_TOKEN where it runs")
        return unauthorized()


def unauthorized() -> JSONResponse:
    """401, with the scheme that is wanted."""
    answer = problem(401, "this needs the control token", "send the header Authorization: Bearer …")
    answer.headers["WWW-Authenticate"] = 'Bearer realm="ingest"'
    return answer


def is_same_origin(request: Request) -> bool:
    """Whether a form was sent by a page of ours. Browsers say so (Sec-Fetch-Site), or name where it came from (Origin)."""
    said = request.headers.get("sec-fetch-site")
    if said is not None:
        return said == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


PROBES = frozenset({"/livez", "/readyz"})
"""What the kubelet asks for."""


class Limits:
    """Middleware: refuses large bodies and hasty clients, and sends the headers that keep other sites out."""

    def __init__(self, app: ASGIApp, *, body_bytes: int, requests_per_minute: int) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._rates = Rates(requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sender = _with_headers(send)
        # behind a proxy or a node's address translation all clients are one, and the kubelet is another of them
        wait = 0.0 if scope["path"] in PROBES else self._rates.wait((scope.get("client") or ("", 0))[0])
        if wait > 0:
            answer = problem(429, "too many requests", f"wait {wait:.0f} s, or raise web.requests_per_minute")
            answer.headers["Retry-After"] = str(int(wait) + 1)
            await answer(scope, receive, sender)
            return
        body = await _body(receive, Headers(scope=scope), self._body_bytes)
        if body is None:
            answer = problem(413, f"the body is larger than {self._body_bytes} bytes", "raise web.max_body_bytes")
            await answer(scope, receive, sender)
            return
        await self._app(scope, _replay(body, receive), sender)


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            for name, value in HEADERS.items():
                if (key := name.lower().encode()) not in present:
                    message["headers"].append((key, value.encode()))
        await send(message)

    return sender


async def _body(receive: Receive, headers: Headers, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is too large."""
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


class Rates:
    """A token bucket a client: a minute's worth of requests at once, then evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._full = float(per_minute)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one; 0, or how many seconds this client has to wait for the next."""
        now = self._clock()
        left, seen = self._left.pop(client, (self._full, now))
        left = min(self._full, left + (now - seen) * self._full / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self._full
        self._left[client] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        return wait
