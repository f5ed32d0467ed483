"""`python -m sandbox.irods --state DIR`: the sandbox in the foreground, until SIGTERM or SIGINT. NOT for production.

SIGUSR1 writes the number of requests by API number to DIR/calls.json and says so on stdout; the end writes it too.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from sandbox.irods.server import SandboxServer


def main(arguments: list[str] | None = None) -> int:
    """Run the server; 0 after a signal, 2 with one line on stderr when it cannot start."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.irods", description="A stand-in iRODS. NOT for production."
    )
    parser.add_argument("--state", type=Path, required=True, help="folder for catalogue and vaults")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--zone", default="tempZone")
    parser.add_argument("--admin", default="rods", help="name of the first rodsadmin")
    parser.add_argument("--password-file", type=Path, help="its password; without, the password is `rods`")
    parser.add_argument("--hash-scheme", default="SHA256")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        password = options.password_file.read_text().strip() if options.password_file else "rods"
        server = SandboxServer(
            options.state, host=options.host, port=options.port, zone=options.zone, admin=options.admin,
            password=password, hash_scheme=options.hash_scheme,
        )  # fmt: skip
        server.start()
    except (OSError, ValueError) as problem:
        print(f"sandbox iRODS cannot start: {problem}", file=sys.stderr)
        return 2
    done = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        done.set()

    def dump(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=lambda: print(f"calls {server.dump_calls()}", flush=True), daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGUSR1, dump)
    (server.state / "irods_environment.json").write_text(json.dumps(server.environment, indent=2) + "\n")
    print(f"ready {server.host}:{server.port}", flush=True)
    # a signal that another thread takes does not interrupt a wait without end
    while not done.wait(0.5):
        pass
    server.stop()
    server.dump_calls()
    return 0


if __name__ == "__main__":
    sys.exit(main())
