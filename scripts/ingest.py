"""`ingest`, the operator's command: every group of commands is a module of its own and one line here."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from scripts import (
    audit,
    completion,
    compute,
    config,
    doctor,
    dump,
    explain,
    failures,
    handler,
    jobs,
    migrate,
    plan,
    report,
    sandbox_servers,
    schema,
    serve,
    status,
)
from scripts.frame import Invocation, Sections, run


def _program_version() -> str:
    try:
        return version("irods-inventory-loader")
    except PackageNotFoundError:
        return "not installed"


_EPILOG = """\
Options: --config PATH (settings), --debug (tracebacks), --version, -h, --help
Exit codes: 0 done, 1 failed, 2 bad input, 3 schema, 4 service away, 130 Ctrl-C"""


@click.group(
    cls=Sections,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The config.yml to read.")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.version_option(_program_version(), message="ingest %(version)s")
@click.pass_context
def ingest(context: click.Context, config_file: Path | None, debug: bool) -> None:
    """Bring files into iRODS by an inventory table. Settings: `ingest config check`."""
    context.obj = Invocation(config_file, debug)


ingest.add(config.group, "Set up")
ingest.add(schema.group, "Set up")
ingest.add(doctor.doctor, "Set up")
ingest.add(completion.completion, "Set up")
ingest.add(jobs.group, "Ingest")
ingest.add(plan.plan, "Ingest")
ingest.add(handler.group, "Ingest")
ingest.add(migrate.group, "Set up")
ingest.add(compute.group, "Ingest")
ingest.add(dump.dump, "Look")
ingest.add(failures.failures, "Look")
ingest.add(failures.retry, "Look")
ingest.add(explain.explain, "Look")
ingest.add(status.status, "Look")
ingest.add(serve.serve, "Look")
ingest.add(audit.audit, "Look")
ingest.add(report.report, "Look")
ingest.add(sandbox_servers.group, "Set up")


def main() -> None:
    """Run `ingest` as the console script does."""
    sys.exit(run(ingest, "ingest", sys.argv[1:]))


if __name__ == "__main__":
    main()
