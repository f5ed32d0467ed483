"""Many jobs over one set of pods, so that tables of behaviours stay cheap: started in this process, as `ingest job start` does."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.settings import JobSettings, S3Settings, Settings
from inventory import jobs
from inventory.jobs import Job
from inventory.queries import FileLine
from scripts.jobs.start import begin
from tests.e2e.world import World, eventually

HEAD = """
import os, re, subprocess, time
from base64 import b64encode
from irods.meta import iRODSMeta
from irods.models import Collection, DataObject
from irods_capability_automated_ingest.core import Core
from irods_capability_automated_ingest.utils import DeleteMode, Operation

class event_handler(Core):
    pass
"""


def handler(methods: str = "", **answers: str | None) -> str:
    """A handler in the style of automated ingest: `methods`, and the expression that each other method returns."""
    signatures = {
        "operation": "session, meta, **options",
        "to_resource": "session, meta, **options",
        "target_path": "session, meta, **options",
        "as_user": "meta, **options",
        "delete_mode": "meta",
        "character_map": "",
        "timeout": "hdlr_mod, logger, meta",
        "max_retries": "hdlr_mod, logger, meta",
        "delay": "hdlr_mod, logger, meta, retries",
    }
    text = textwrap.dedent(methods).replace("\ndef ", "\n@staticmethod\ndef ")
    for name, expression in answers.items():
        if expression is not None:
            text += f"\n@staticmethod\ndef {name}({signatures[name]}):\n    return {expression}\n"
    return HEAD + textwrap.indent(text, "    ")


class Many:
    """Jobs of one world, by name, each below a collection and with a handler of its own name."""

    def __init__(self, world: World, folder: Path, s3: S3Settings | None = None) -> None:
        self.world = world
        self._folder = folder
        self._s3 = s3

    def settings(self, **job: Any) -> Settings:
        """The settings in force for a job that is started."""
        settings = self.world.settings
        chosen = JobSettings.model_validate(settings.job.model_dump() | {"shards": 1} | job)
        changes: dict[str, Any] = {"job": chosen}
        changes["loader"] = settings.loader.model_copy(update={"handlers_folder": self._folder})
        return settings.model_copy(update=changes | ({"s3": self._s3} if self._s3 else {}))

    def target(self, name: str) -> str:
        return f"{self.world.target}/{name}"

    def begin(self, name: str, source: Path | str, text: str, *, target: str | None = None, **job: Any) -> Job:
        """Start a job with a handler. Raises what the command tells of."""
        (self._folder / f"{name}.py").write_text(text)
        settings = self.settings(event_handler=f"{name}.py", **job)
        return begin(self.world.database, settings, str(source), target or self.target(name), name)

    def finished(self, names: Iterable[str], seconds: float = 90) -> None:
        """Wait until all these jobs are at their end."""
        waiting = set(names)

        def done() -> bool:
            for job in jobs.listed(self.world.database):
                if job.name in waiting and job.state == "finished":
                    waiting.discard(job.name)
            for pod, process in self.world.pods.items():
                assert process.poll() is None, f"{pod} ended with {process.poll()}: {self.world.log_tails()}"
            return not waiting

        eventually(lambda: f"{waiting} are finished: {self.world.counts()} {self.world.log_tails()}", done, seconds)

    def rescan(self, names: Iterable[str]) -> None:
        """Have jobs look at their sources again, and wait until all is done."""
        names = list(names)
        for name in names:
            job = jobs.find(self.world.database, name)
            assert job is not None
            jobs.rescan(self.world.database, job.id)
        self.finished(names)

    def lines(self, name: str) -> dict[str, FileLine]:
        return self.world.lines(job=name)

    def states(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        """By job how many of its files are in which state, with the error of dead ones."""
        found: dict[str, dict[str, int]] = {}
        for name in names:
            counted: dict[str, int] = {}
            for line in self.lines(name).values():
                word = f"dead: {line.error}" if line.state == "dead" else line.state
                counted[word] = counted.get(word, 0) + 1
            found[name] = counted
        return found


def fill(folder: Path, data: bytes = b"", files: int = 10) -> None:
    """Files of 0 to 9 bytes, and what is in `data` behind them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        (folder / f"f{number}").write_bytes(b"x" * number + data)


def contents(folder: Path) -> Mapping[str, bytes]:
    """What is in the files of a folder, by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
