"""`python -m loader`"""

import sys

from core import warmup  # noqa: F401  # first of all
from inventory import pod
from inventory.connected import Connected
from inventory.pod import Member
from loader.stage import LoadStage


def loop(member: Member) -> Connected:
    """The loop of one loader."""
    stage = LoadStage(member)
    return Connected(member, stage, member.settings.loader.batch, extra=stage.extra)


if __name__ == "__main__":
    sys.exit(pod.run("loader", loop))
