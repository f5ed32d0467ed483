"""`python -m watcher`"""

import sys

from inventory import pod
from watcher.loop import WatchLoop

if __name__ == "__main__":
    sys.exit(pod.run("watcher", WatchLoop))
