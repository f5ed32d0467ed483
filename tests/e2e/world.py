"""A whole installation for one test: real pods as processes, a real Postgres, and an iRODS."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from irods.column import Like
from irods.models import Collection, DataObject
from irods.session import iRODSSession

from core.irods import Gateway
from core.paths import escape, unescape
from core.settings import Settings
from core.settings_file import load_settings
from inventory import jobs, queries
from inventory.engine import Database
from inventory.queries import Chosen, FileLine
from tests.e2e import forked
from tests.e2e.forked import Forked

PROJECT = Path(__file__).parents[2]
PATIENCE = 90.0
HANDLERS_FOLDER = "INGEST_LOADER__HANDLERS_FOLDER"
QUICK = {
    "INGEST_WORKER__HEARTBEAT_SECONDS": "0.3",
    "INGEST_WORKER__LEASE_SECONDS": "60",  # a busy machine is no reason to lose one
    "INGEST_WORKER__HOUSEKEEPING_SECONDS": "0.3",
    "INGEST_WORKER__POLL_SECONDS": "0.1",
    "INGEST_WORKER__RETRY_SECONDS": "0.3",
    "INGEST_WORKER__DRAIN_SECONDS": "5",
    "INGEST_WORKER__FLUSH_SECONDS": "0.2",
    "INGEST_JOB__SHARDS": "2",
}


def eventually(what: str | Callable[[], str], fact: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true value of `fact`, looked at again and again."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (value := fact()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for: {what() if callable(what) else what}"
        pause.wait(0.05)
    return value


def hashes_of(root: Path) -> dict[str, str]:
    """SHA-256 by escaped relative path of every regular file below a folder."""
    found = {}
    base = os.fsencode(root)
    for folder, _, names in os.walk(base):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                relative = "/".join(escape(part) for part in os.path.relpath(path, base).split(b"/"))
                digest = hashlib.sha256()
                with open(path, "rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                found[relative] = digest.hexdigest()
    return found


class World:
    """Pods over one inventory and one iRODS."""

    def __init__(self, url: str, irods: Mapping[str, str], logs: Path) -> None:
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("INGEST_", "POD_NAME"))},
            **QUICK,
            **irods,
            "INVENTORY_URL": url,
            "INGEST_CONFIG": str(PROJECT / "config.yml"),
            "PYTHONPATH": str(PROJECT),
        }
        self.settings: Settings = load_settings(environ=self.environment)
        self.database = Database(url)
        self.logs = logs
        self.pods: dict[str, subprocess.Popen[bytes] | Forked] = {}
        self.target = f"/{self.settings.irods.zone}/home/{self.settings.irods.user}/e2e-{uuid.uuid4().hex[:8]}"

    def ingest(self, *arguments: str, module: str = "scripts.ingest") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return forked.ended(module, arguments, self.environment, self.logs, PATIENCE)

    def start_job(self, source: Path, *options: str, name: str = "job") -> None:
        done = self.ingest("job", "start", str(source), self.target, "--name", name, *options)
        assert done.returncode == 0, done.stderr

    def with_short_leases(self) -> World:
        """What a pod held that died is soon free: for pods that are started from now on."""
        self.environment["INGEST_WORKER__LEASE_SECONDS"] = "3"
        return self

    def start(self, *kinds: str, prefix: Sequence[str] = ()) -> list[str]:
        """Start pods, each behind the words of `prefix`, and return their names."""
        names = []
        for kind in kinds:
            name = f"{kind}-{len(self.pods)}"
            environment = {**self.environment, "POD_NAME": name}
            with (self.logs / f"{name}.log").open("ab") as log:
                self.pods[name] = (
                    subprocess.Popen(
                        [*prefix, sys.executable, "-m", kind], env=environment, cwd=self.logs, stdout=log, stderr=log
                    )
                    if prefix
                    else forked.started(kind, (), environment, self.logs, log, log)
                )
            names.append(name)
        return names

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        pod = self.pods.pop(name)
        pod.send_signal(number)
        return pod.wait(PATIENCE)

    def stop(self) -> None:
        """Ask all pods to end; each must do so in good order."""
        for pod in self.pods.values():
            pod.send_signal(signal.SIGTERM)
        codes = {name: pod.wait(PATIENCE) for name, pod in self.pods.items()}
        self.pods.clear()
        assert not any(codes.values()), (codes, self.log_tails())

    def log_tails(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(self.logs.glob("*.log")))

    def wait_finished(self, name: str = "job") -> None:
        def finished() -> bool:
            for pod, process in self.pods.items():
                assert process.poll() is None, f"{pod} ended with {process.poll()}: {self.log_tails()}"
            job = jobs.find(self.database, name)
            return job is not None and job.state == "finished"

        try:
            eventually(f"job {name} is finished", finished)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.counts()}\n{self.log_tails()}") from error

    def counts(self) -> dict[str, int]:
        return {count.state: count.files for count in queries.summary(self.database)}

    def lines(self, **chosen: Any) -> dict[str, FileLine]:
        return {line.path: line for line in queries.files(self.database, Chosen(**chosen))}

    @contextmanager
    def irods(self) -> Iterator[iRODSSession]:
        """A plain python-irodsclient session, which knows nothing of us."""
        irods = self.settings.irods
        if irods.password is None:
            session = iRODSSession(irods_env_file=self.environment["IRODS_ENVIRONMENT_FILE"])
        else:
            session = iRODSSession(
                host=irods.host,
                port=irods.port,
                user=irods.user,
                zone=irods.zone,
                password=irods.password.get_secret_value(),
            )
        with session:
            yield session

    def held_by_irods(self) -> dict[str, str]:
        """SHA-256 by relative path of all bytes that iRODS delivers from below the target."""
        found = {}
        paths = self.objects()
        with self.irods() as session:
            for path in paths:
                digest = hashlib.sha256()
                with session.data_objects.open(f"{self.target}/{path}", "r") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                found[path] = digest.hexdigest()
        return found

    def objects(self) -> set[str]:
        """Relative paths of the data objects below the target."""
        with self.irods() as session:
            rows = session.query(Collection.name, DataObject.name).filter(Like(Collection.name, f"{self.target}%"))
            paths = {f"{row[Collection.name]}/{row[DataObject.name]}" for row in rows}
        return {path.removeprefix(f"{self.target}/") for path in paths if path.startswith(f"{self.target}/")}

    def collections(self) -> set[str]:
        """Relative paths of the collections below the target."""
        with self.irods() as session:
            rows = session.query(Collection.name).filter(Like(Collection.name, f"{self.target}/%"))
            names = {row[Collection.name] for row in rows}
        return {name.removeprefix(f"{self.target}/") for name in names if name.startswith(f"{self.target}/")}

    def physical_path(self, relative: str) -> Path:
        """Where iRODS keeps the bytes of a file."""
        with Gateway(self.settings.irods) as gateway:
            [replica] = gateway.replicas(f"{self.target}/{relative}")
        return Path(
            os.fsdecode(unescape(replica.physical_path)) if "%" in replica.physical_path else replica.physical_path
        )

    def close(self) -> None:
        for pod in self.pods.values():
            pod.kill()
            pod.wait()
        self.database.close()
        with Gateway(self.settings.irods) as gateway:
            gateway.remove_collection(self.target)


def environment_of(folder: Path, environment: Mapping[str, Any], password: str) -> dict[str, str]:
    """What a pod's environment says of an iRODS."""
    file = folder / "irods_environment.json"
    file.write_text(json.dumps(dict(environment)))
    return {"IRODS_ENVIRONMENT_FILE": str(file), "IRODS_PASSWORD": password}
