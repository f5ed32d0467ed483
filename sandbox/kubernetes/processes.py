"""Containers as local processes: no isolation, only the order, the mounts and the ends of a pod's containers.

A mount is a folder; the paths of mounts in commands, arguments and environments are rewritten to it.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.kubernetes import pods
from sandbox.kubernetes.answers import Json
from sandbox.kubernetes.store import now

Put = Callable[[Json], None]
"""Takes the status of a container."""
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


@dataclass(frozen=True)
class Image:
    """What stands for an image: its entrypoint, its environment, and words of commands that mean something else here."""

    entrypoint: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    """First words of commands and what they are on this machine: `python` is this very Python."""
    folder: Path | None = None
    """The working directory."""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Kubernetes' own expansion in commands and environments: `$(NAME)` if it is known, `$$` is a dollar."""

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else environment.get(name, match.group(0))

    return _REFERENCE.sub(one, text)


class PodProcesses:
    """The processes of one pod, one container after the other; `kill` ends them from another thread."""

    def __init__(
        self, pod: Json, images: Mapping[str, Image], folder: Path, lookup: Callable[[str, str], Json | None]
    ) -> None:
        self._pod = pod
        self._images = images
        self._folder = folder
        self._lookup = lookup
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()

    def run(self, put: Put) -> int | None:
        """Run init containers in order, then the first container. The exit code, or None when an image is not there."""
        spec = self._pod["spec"]
        code: int | None = 0
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            code = self._run_container(container, put)
            if code != 0:
                break
        return code

    def kill(self) -> None:
        """End what runs and begin no more."""
        with self._lock:
            self._killed = True
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def log_file(self, container: str) -> Path:
        """Where a container writes."""
        return self._folder / f"{container}.log"

    def _run_container(self, container: Json, put: Put) -> int | None:
        image = self._images.get(container["image"])
        if image is None:
            put(pods.waiting(container, *_no_image(container)))
            return None
        missing = self._missing_secret(container)
        if missing:
            put(pods.waiting(container, "CreateContainerConfigError", missing))
            return None
        mounts = self._mounts(container)
        environment = self._environment(container, image, mounts)
        command = self._command(container, image, environment, mounts)
        started = now()
        put(pods.running(container))
        with self.log_file(container["name"]).open("ab") as log:
            code = self._wait_for(command, environment, self._working_folder(container, image, mounts), log)
        put(pods.terminated(container, code, started))
        return code

    def _wait_for(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Any) -> int:
        with self._lock:
            if self._killed:
                return 137
            try:
                self._process = subprocess.Popen(
                    command,
                    env=dict(environment),
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                return 128
        code = self._process.wait()
        return 128 - code if code < 0 else code

    def _working_folder(self, container: Json, image: Image, mounts: Mapping[str, Path]) -> Path:
        given = container.get("workingDir")
        return Path(rewritten(given, mounts)) if given else image.folder or self._folder

    def _command(
        self, container: Json, image: Image, environment: Mapping[str, str], mounts: Mapping[str, Path]
    ) -> list[str]:
        given = [*container.get("command", []), *container.get("args", [])]
        words = [rewritten(expand(word, environment), mounts) for word in given]
        # an entry point is a place on this machine, which may well lie below the path of a mount
        words = words if container.get("command") else [*image.entrypoint, *words]
        return [image.programs.get(words[0], words[0]), *words[1:]]

    def _environment(self, container: Json, image: Image, mounts: Mapping[str, Path]) -> dict[str, str]:
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), **image.environment}
        for entry in container.get("env", []):
            if "secretKeyRef" in entry.get("valueFrom", {}):
                source = entry["valueFrom"]["secretKeyRef"]
                data = (self._lookup("secrets", source["name"]) or {}).get("data", {})
                if source["key"] in data:
                    environment[entry["name"]] = base64.b64decode(data[source["key"]]).decode()
            elif "fieldRef" in entry.get("valueFrom", {}):
                environment[entry["name"]] = self._pod["metadata"]["name"]
            else:
                environment[entry["name"]] = rewritten(expand(entry.get("value", ""), environment), mounts)
        return environment

    def _missing_secret(self, container: Json) -> str:
        names = {mount["name"] for mount in container.get("volumeMounts", [])}
        for volume in self._pod["spec"].get("volumes", []):
            secret = volume.get("secret")
            needed = secret and volume["name"] in names and not secret.get("optional")
            if needed and self._lookup("secrets", secret["secretName"]) is None:
                return f'secret "{secret["secretName"]}" not found'
        return ""

    def _mounts(self, container: Json) -> dict[str, Path]:
        volumes = {volume["name"]: volume for volume in self._pod["spec"].get("volumes", [])}
        return {
            mount["mountPath"]: self._volume(volumes[mount["name"]], mount.get("subPath", ""))
            for mount in container.get("volumeMounts", [])
        }

    def _volume(self, volume: Json, inner: str) -> Path:
        claim = volume.get("persistentVolumeClaim")
        if claim:
            found = self._lookup("persistentvolumeclaims", claim["claimName"]) or {}
            place = Path(found.get("metadata", {}).get("annotations", {}).get("sandbox/folder") or self._folder)
        else:
            place = self._folder / "volumes" / volume["name"]
        place = place / inner
        place.mkdir(parents=True, exist_ok=True)
        if "secret" in volume:
            secret = self._lookup("secrets", volume["secret"]["secretName"]) or {}
            for key, value in secret.get("data", {}).items():
                (place / key).write_bytes(base64.b64decode(value))
        return place


def _no_image(container: Json) -> tuple[str, str]:
    image = container["image"]
    if container.get("imagePullPolicy") == "Never":
        return "ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never'
    return "ErrImagePull", f'failed to pull and unpack image "{image}": {image}: not found'


def rewritten(text: str, mounts: Mapping[str, Path]) -> str:
    """A text in which the paths of mounts are those of their folders, the longest first."""
    if not mounts:
        return text
    paths = sorted(mounts, key=len, reverse=True)
    pattern = "|".join(re.escape(path) for path in paths)
    return re.sub(rf"(?<![\w/.-])({pattern})(?![\w.-])", lambda match: str(mounts[match.group(1)]), text)
