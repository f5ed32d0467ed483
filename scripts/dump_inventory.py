"""`dump_inventory`: the same as `ingest dump`, under the name that hsds-bucket-loader's users know."""

from __future__ import annotations

import sys

from scripts.dump import dump
from scripts.frame import Invocation, run


def main() -> None:
    """Run the command; settings come from the environment and config.yml."""
    dump.context_settings["obj"] = Invocation()
    sys.exit(run(dump, "dump_inventory", sys.argv[1:]))


if __name__ == "__main__":
    main()
