"""`python -m verifier`"""

import sys

from core.service import Loop
from core.worker import Pipeline
from inventory import pod
from verifier.stage import VerifyStage


def _loop(member: pod.Member) -> Loop:
    worker = member.settings.worker
    return Pipeline(
        VerifyStage(member),
        threads=member.settings.irods.connections,
        batch=member.settings.verifier.batch,
        flush_files=worker.flush_files,
        flush_seconds=worker.flush_seconds,
    )


if __name__ == "__main__":
    sys.exit(pod.run("verifier", _loop))
