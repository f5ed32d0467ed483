"""The end of a pass is told until it was taken: over real HTTP and SMTP, in the face of refusals and deaths."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from core import notify
from core.errors import UsageError
from core.outcome import Dead, Done
from core.settings import NotifySettings
from inventory import housekeeping, notices
from inventory.claims import Result
from tests.integration.inventory_world import World


class Hook(ThreadingHTTPServer):
    """A webhook that answers with the codes of `answers`, then 204, and keeps what was posted."""

    daemon_threads = True

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.posted: list[tuple[str | None, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.headers[notify.ID_HEADER], body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that takes everything."""

    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        super().__init__(("127.0.0.1", 0), _Smtp)


class _Smtp(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.mails.append(b"".join(lines).decode())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


@pytest.fixture
def ended(world: World) -> World:
    """A job whose only pass is over, with a dead letter."""
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)  # opens the pass
    world.add("a", "b")
    worker = world.worker()
    results = [
        Result(file, Done("sha2:x") if file.name == "a" else Dead("EACCES", "no")) for file in world.claim(worker)
    ]
    world.finish(worker, results)
    verifier = world.worker("verifier")
    world.finish(verifier, [Result(file, Done()) for file in world.claim(verifier, "verify")], "verify")
    world.execute("UPDATE inventory.directory SET collection_made_at = now()")
    housekeeping.tidy(world.database, lease_seconds=60, max_reaps=5)
    assert world.one("SELECT state FROM inventory.job") == "finished"
    return world


def due_again(world: World) -> None:
    world.execute("UPDATE inventory.notice SET due_at = now()")


def test_a_webhook_is_told_until_it_takes_it(ended: World) -> None:
    hook = Hook(500, 503)
    with serving(hook):
        settings = NotifySettings(
            webhook_url=SecretStr(f"http://127.0.0.1:{hook.server_port}/secret"), timeout_seconds=5
        )
        for taken in (0, 0, 1, 0):
            assert notices.deliver(ended.database, settings, ["webhook"]) == taken
            due_again(ended)
    ids, bodies = zip(*hook.posted, strict=True)
    assert len(bodies) == 3
    assert len({*ids, *(body["id"] for body in bodies)}) == 1
    told = bodies[0]
    assert (told["job"], told["pass"], told["files"], told["failed"]) == ("job", 1, 2, 1)
    assert told["states"] == {"dead": {"files": 1, "bytes": 1}, "verified": {"files": 1, "bytes": 1}}
    [group] = told["failures"]
    assert (group["error"], group["dead"], "readable" in group["hint"]) == ("EACCES", 1, True)
    assert ended.one("SELECT error FROM inventory.notice WHERE channel = 'webhook'") is None


def test_a_notice_is_written_with_the_end_of_the_pass_and_once(ended: World) -> None:
    housekeeping.tidy(ended.database, lease_seconds=60, max_reaps=5)
    assert ended.one("SELECT count(*) FROM inventory.notice") == 2


def test_who_dies_over_a_delivery_costs_a_delay(ended: World) -> None:
    [claimed] = notices.claim(ended.database, ["webhook"], 7)  # and is never heard of again
    assert notices.claim(ended.database, ["webhook"], 7) == []
    due_again(ended)
    [again] = notices.claim(ended.database, ["webhook"], 7)
    assert (again.id, again.attempts) == (claimed.id, 2)
    delay = ended.one("SELECT extract(epoch FROM due_at - now()) FROM inventory.notice WHERE channel = 'webhook'")
    assert 55 < delay <= 60


def test_a_refusal_is_kept_without_the_secret_in_the_url(ended: World) -> None:
    settings = NotifySettings(webhook_url=SecretStr("http://127.0.0.1:9/secret"), timeout_seconds=2)
    assert notices.deliver(ended.database, settings, ["webhook"]) == 0
    [left] = notices.undelivered(ended.database)
    assert (left.job, left.number, left.channel) == ("job", 1, "webhook")
    assert "refused" in (left.error or "")
    assert "secret" not in (left.error or "")


def test_a_mail_says_what_failed_and_what_to_do(ended: World) -> None:
    box = Mailbox()
    with serving(box):
        port = box.server_address[1]
        settings = NotifySettings(
            smtp_host="127.0.0.1", smtp_port=int(port), mail_to="ops@example.org, two@example.org"
        )
        assert notify.channels(settings) == ["mail"]
        assert notices.deliver(ended.database, settings, ["mail"]) == 1
    [mail] = box.mails
    assert "Subject: Job job, pass 1: 1 dead of 2 files" in mail
    assert "ops@example.org, two@example.org" in mail
    assert "EACCES (load): 1 dead, 0 retrying" in mail


def test_what_is_not_wanted_is_not_told(ended: World) -> None:
    hook = Hook()
    with serving(hook):
        url = SecretStr(f"http://127.0.0.1:{hook.server_port}/")
        ended.execute("UPDATE inventory.pass SET failed = 0")
        assert notices.deliver(ended.database, NotifySettings(webhook_url=url, passes="failed"), ["webhook"]) == 0
        due_again(ended)
        assert notices.deliver(ended.database, NotifySettings(webhook_url=url, passes="all"), ["webhook"]) == 0
    assert hook.posted == []


def test_another_url_than_http_is_refused() -> None:
    with pytest.raises(UsageError, match="http"):
        notify.channels(NotifySettings(webhook_url=SecretStr("file:///etc/passwd")))
