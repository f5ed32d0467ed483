"""`python -m verifier`"""

import sys

from core import warmup  # noqa: F401  # first of all
from inventory import pod
from inventory.connected import Connected
from verifier.stage import VerifyStage

if __name__ == "__main__":
    sys.exit(pod.run("verifier", lambda member: Connected(member, VerifyStage(member), member.settings.verifier.batch)))
