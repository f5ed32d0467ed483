"""`python -m watcher`"""

import sys

from core import warmup  # noqa: F401  # first of all
from inventory import pod
from watcher.loop import WatchLoop

if __name__ == "__main__":
    sys.exit(pod.run("watcher", WatchLoop))
