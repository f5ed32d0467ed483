"""What a real iRODS 5.0.2 answered, asked of the sandbox: struct, intInfo, rows, byte streams, codes and words of errors."""

from __future__ import annotations

import importlib.util
import tempfile
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

from sandbox.irods import SandboxServer

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "irods_recordings").glob("*.jsonl"))


@pytest.fixture(scope="module")
def referee() -> ModuleType:
    spec = importlib.util.spec_from_file_location("referee", Path(__file__).with_name("referee.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replayed(referee: ModuleType, server: SandboxServer, recording: Path) -> int:
    options = Namespace(
        host="127.0.0.1", port=server.port, vault=str(server.vault), text=True, keep_going=True, verbose=False
    )
    return int(referee.Replay(options).run(recording))


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_alike(
    referee: ModuleType, server: SandboxServer, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert replayed(referee, server, recording) == 0, capsys.readouterr().out


def test_all_in_one_zone(
    referee: ModuleType, server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert len(RECORDINGS) == 18
    assert sum(replayed(referee, server, recording) for recording in RECORDINGS) == 0, capsys.readouterr().out
