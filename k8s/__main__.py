"""`python -m k8s`"""

import sys

from core import warmup  # noqa: F401  # first of all
from inventory import pod
from k8s.loop import ComputeLoop

if __name__ == "__main__":
    sys.exit(pod.run("compute", ComputeLoop))
