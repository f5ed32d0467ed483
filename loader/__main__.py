"""`python -m loader`"""

import sys

from inventory import pod
from inventory.connected import Connected
from loader.stage import LoadStage

if __name__ == "__main__":
    sys.exit(pod.run("loader", lambda member: Connected(member, LoadStage(member), member.settings.loader.batch)))
