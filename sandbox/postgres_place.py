"""Where an embedded Postgres keeps its data and which system user runs it.

PostgreSQL refuses to run as root. When root starts it (a container, a fresh machine), it runs as an unprivileged user
in a folder that this user owns. The wanted folder may be out of that user's reach, for instance below a mode-0700
directory of `mktemp -d`; then the data lives below /var/tmp in a folder named after the wanted path.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from core.errors import Unavailable

REACHABLE_PARENT = Path("/var/tmp")
"""Survives a reboot, is on a disk, and every user can pass through it."""

UNPRIVILEGED_USERS = ("postgres", "nobody")
"""Whom root lets run the server, the first that exists."""


class ProcessUser(TypedDict, total=False):
    """Keyword arguments of `subprocess` that make a child run as another user; empty for our own."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The system user that runs the server."""

    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        return self.uid == os.geteuid()

    def process(self) -> ProcessUser:
        """Return what `subprocess.run(…, **user.process())` needs to run a child as this user."""
        return ProcessUser() if self.is_us else ProcessUser(user=self.uid, group=self.gid, extra_groups=[])

    def own(self, path: Path) -> None:
        """Give `path` to this user."""
        if not self.is_us:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """True when this user can pass through all directories above `path` and read it (asked of the kernel)."""
        question = ["/bin/sh", "-c", 'test -r "$1" && test -x "$1"', "sh", str(path)]
        return subprocess.run(question, cwd="/", check=False, **self.process()).returncode == 0


def server_user() -> ServerUser:
    """Return ourselves, or an unprivileged user when we are root. Raises Unavailable when root finds none."""
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid())
    for name in UNPRIVILEGED_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(entry.pw_uid, entry.pw_gid)
    raise Unavailable(
        f"PostgreSQL does not run as root and there is no user named {' or '.join(UNPRIVILEGED_USERS)}",
        "run as an ordinary user or create one of them",
    )


def server_home(folder: Path, user: ServerUser) -> Path:
    """Return the directory (mode 0700, owned by `user`) for the server of `folder`, making it when missing.

    It is `folder`/server where `user` can reach that, else a directory below /var/tmp that `folder`/elsewhere names.
    Raises Unavailable when a directory of that name belongs to somebody else.
    """
    home = folder / "server"
    if not (folder / "elsewhere").exists():
        home.mkdir(mode=0o700, exist_ok=True)
        user.own(home)
        if user.reaches(home):
            return home
        home.rmdir()
    return _home_elsewhere(folder, user)


def find_home(folder: Path) -> Path | None:
    """Return the directory that `server_home` made for `folder` earlier, or None."""
    noted, _ = _read_note(folder)
    home = Path(noted) if noted else folder / "server"
    return home if home.is_dir() else None


def _home_elsewhere(folder: Path, user: ServerUser) -> Path:
    """Return the directory below /var/tmp for `folder`.

    The note in `folder` and the token in the directory must agree: else the wanted folder was removed and made again
    since, and its old data must not come back.
    """
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    home = REACHABLE_PARENT / f"ingest-postgres-{name}"
    _, token = _read_note(folder)
    if os.path.lexists(home):
        owner = home.lstat()
        if not stat.S_ISDIR(owner.st_mode) or owner.st_uid not in (user.uid, os.geteuid()):
            raise Unavailable(f"{home} is not a directory of user {user.uid}", "remove it or choose another folder")
        if not token or token != _read(home / "token"):
            shutil.rmtree(home)
    if not home.exists():
        token = secrets.token_hex(8)
        home.mkdir(mode=0o700)
        (home / "token").write_text(token)
        _write_note(folder, home, token)
        user.own(home)
    return home


def _read_note(folder: Path) -> tuple[str, str]:
    """Return the directory and the token that the note in `folder` names, or two empty strings."""
    lines = _read(folder / "elsewhere").splitlines()
    return (lines[0], lines[1]) if len(lines) == 2 else ("", "")


def _write_note(folder: Path, home: Path, token: str) -> None:
    unfinished = folder / "elsewhere.unfinished"
    unfinished.write_text(f"{home}\n{token}\n")
    unfinished.rename(folder / "elsewhere")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
