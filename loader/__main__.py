"""`python -m loader`"""

import sys

from core.service import Loop
from core.worker import Pipeline
from inventory import pod
from loader.stage import LoadStage


def _loop(member: pod.Member) -> Loop:
    worker = member.settings.worker
    return Pipeline(
        LoadStage(member),
        threads=member.settings.irods.connections,
        batch=member.settings.loader.batch,
        flush_files=worker.flush_files,
        flush_seconds=worker.flush_seconds,
    )


if __name__ == "__main__":
    sys.exit(pod.run("loader", _loop))
