"""`python -m tests.s3.server PORT`: moto's S3 and SQS over HTTP; says `ready` when it listens."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from moto.server import ThreadedMotoServer


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
    server.start()
    print("ready", flush=True)
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: done.set())
    done.wait()
    server.stop()


if __name__ == "__main__":
    main()
