"""A process that has read in all that one of our programs reads in, and forks: the fork goes on as `python -m PROGRAM` does.

`nursery.py PROGRAM DESCRIPTOR` is what `tests.e2e.forked` talks to. A request on the socket is a JSON object with `arguments`,
`environment` and `folder`, and comes with two descriptors, for standard output and error. The answer is the id of the new process,
which by then is a child of whoever asked, a subreaper. A nursery has no threads, opens nothing, and ends with who started it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import socket
import sys
import time

SIZE = 1 << 17
"""Of the largest request, in bytes."""
LIBRARIES = (
    "sqlalchemy.dialects.postgresql.psycopg2", "psycopg2.extras", "structlog", "irods.session", "irods.auth.native",
    "prometheus_client.core", "http.server", "stringprep", "encodings.idna", "pathspec", "yaml",
    "boto3.session", "botocore.client", "botocore.endpoint", "botocore.httpsession",
)  # fmt: skip
"""What programs read in later; what is ours is read in when they do it, so that nothing of ours is there but for its own import."""
OF_COMMANDS = ("rich.console", "sqlite3", "jinja2", "starlette.applications", "uvicorn")
"""And what commands do; not `kubernetes`, which looks for KUBECONFIG when it is read in."""


def read_in(program: str) -> None:
    """Import what a program imports when it is run, and be ready to run it."""
    main = program if "." in program else f"{program}.__main__"
    importlib.import_module(main)
    del sys.modules[main]  # it is run under the name `__main__`
    for library in (*LIBRARIES, *(OF_COMMANDS if program.startswith("scripts.") else ())):
        importlib.import_module(library)
    gc.freeze()


def serve(asked: socket.socket) -> list[str]:
    """Answer requests; return in each process that is made, with its arguments."""
    while True:
        message, descriptors, *_ = socket.recv_fds(asked, SIZE, 2)
        if not message:
            sys.exit()
        if os.fork() == 0:
            if child := os.fork():
                asked.send(child.to_bytes(8, "big"))
                os._exit(0)
            asked.close()
            return begin(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        os.wait()
        asked.send(b"\0")  # only now the new process is the child of who asked


def begin(request: dict[str, object], output: int, errors: int) -> list[str]:
    """Be what a new process is: in its folder, with its environment and its standard output and error."""
    for descriptor, standard in ((output, 1), (errors, 2)):
        os.dup2(descriptor, standard)
    for descriptor in {output, errors}:
        os.close(descriptor)
    environment, folder, arguments = request["environment"], request["folder"], request["arguments"]
    assert isinstance(environment, dict) and isinstance(folder, str) and isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    sys.path[0] = folder
    return arguments


if __name__ == "__main__":
    program, descriptor = sys.argv[1:]
    sys.path[0] = os.getcwd()
    read_in(program)
    sys.argv[1:] = serve(socket.socket(fileno=int(descriptor)))
    runpy.run_module(program, run_name="__main__", alter_sys=True)
