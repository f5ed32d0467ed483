"""REST against its own description: schemathesis sends what fits it and what does not, and checks each answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.web.conftest import TOKEN, serving


def test_every_operation_answers_as_it_is_described(environment: dict[str, str], tmp_path: Path) -> None:
    with serving({**environment, "WEB_TOKEN": TOKEN, "INGEST_WEB__REQUESTS_PER_MINUTE": "100000"}) as address:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "run", f"{address}/openapi.json",
                "--header", f"Authorization: Bearer {TOKEN}", "--max-examples", "6", "--seed", "1",
                "--phases", "fuzzing,stateful", "--mode", "all", "--generation-database", "none", "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:]
