"""Telling people outside: a JSON object posted to a webhook, or a mail.

One call is one attempt; who calls keeps what is to be told.
"""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from core.settings import NotifySettings

Channel = Literal["webhook", "mail"]
ID_HEADER = "X-Ingest-Notice"
"""Names a notice, the same at each attempt: who gets it twice can tell."""


class NotTaken(Exception):
    """A delivery failed; it says why without the URL, which may hold a secret."""


def channels(settings: NotifySettings) -> list[Channel]:
    """The ways that are configured. Raises UsageError when a secret cannot be read."""
    found: list[Channel] = []
    if settings.webhook() is not None:
        found.append("webhook")
    if settings.recipients():
        found.append("mail")
    return found


def send(settings: NotifySettings, channel: Channel, notice: Mapping[str, Any]) -> None:
    """Deliver a notice, a JSON object with `id` and `subject`. Raises NotTaken."""
    try:
        _post(settings, notice) if channel == "webhook" else _mail(settings, notice)
    except HTTPError as problem:
        raise NotTaken(f"the webhook answered {problem.code} {problem.reason}") from None
    except (OSError, smtplib.SMTPException) as problem:
        # URLError and ssl.SSLError are OSErrors
        raise NotTaken(f"{type(problem).__name__}: {problem}") from None


def _post(settings: NotifySettings, notice: Mapping[str, Any]) -> None:
    url = settings.webhook()
    assert url is not None
    headers = {"Content-Type": "application/json", ID_HEADER: str(notice["id"]), "User-Agent": "irods-inventory-loader"}
    request = Request(url, json.dumps(notice, default=str).encode(), headers)
    with urlopen(request, timeout=settings.timeout_seconds):
        pass


def _mail(settings: NotifySettings, notice: Mapping[str, Any]) -> None:
    message = EmailMessage()
    message["Subject"] = str(notice["subject"])
    message["From"] = settings.mail_from
    message["To"] = ", ".join(settings.recipients())
    message["Message-ID"] = f"<{notice['id']}@irods-inventory-loader>"
    message[ID_HEADER] = str(notice["id"])
    message.set_content(as_text(notice))
    with smtplib.SMTP(settings.smtp_host or "", settings.smtp_port, timeout=settings.timeout_seconds) as server:
        if settings.smtp_starttls:
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.password())
        server.send_message(message)


def as_text(notice: Mapping[str, Any]) -> str:
    """A notice for people."""
    lines = [str(notice["subject"]), ""]
    lines += [f"{key:<12} {notice[key]}" for key in ("source", "collection", "started_at", "finished_at")]
    lines += [
        "",
        *(
            f"{state:<12} {count['files']:>12} files {count['bytes']:>18} bytes"
            for state, count in notice["states"].items()
        ),
    ]
    failures: Sequence[Mapping[str, Any]] = notice["failures"]
    for group in failures:
        lines += ["", f"{group['error']} ({group['stage']}): {group['dead']} dead, {group['retrying']} retrying"]
        lines += [f"  {group['hint']}"] if group["hint"] else []
        lines += [f"  {example['path']}: {example['message']}" for example in group["examples"]]
    lines += ["", f"All of it: ingest report {notice['job']}"]
    return "\n".join(lines) + "\n"
