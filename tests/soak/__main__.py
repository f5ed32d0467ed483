"""`make soak`: SOAK_SECONDS of chaos (300) from SEED (a new one, printed); exits with 1 when anything was wrong at the end."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import Soak, seed_of


def main() -> int:
    """Run it, print what it did, and keep the folder with all logs when it failed."""
    seed = seed_of(dict(os.environ))
    seconds = float(os.environ.get("SOAK_SECONDS", "300"))
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    folder.chmod(0o755)
    print(f"soak: seed {seed}, {seconds:.0f} s, logs in {folder / 'logs'}", flush=True)
    soak = Soak(folder, seed)
    report = soak.run(seconds)
    print(report.text(), flush=True)
    if report.violations:
        return 1
    soak.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
