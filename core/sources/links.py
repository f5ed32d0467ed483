"""Following symbolic links: never out of the source, never in a circle."""

from __future__ import annotations

import os
import stat as stat_bits


def is_inside(path: bytes, root: bytes) -> bool:
    """Whether a real path is the root or lies below it."""
    return path == root or path.startswith(root.rstrip(b"/") + b"/")


def target_status(root: bytes, directory: bytes, name: bytes) -> os.stat_result | None:
    """What a link in `directory` leads to; None where it is not to be followed.

    That is a link that leads nowhere or out of the source, and one to a directory through which the way to the link has come.
    """
    try:
        base = os.path.realpath(root)
        target = os.path.realpath(os.path.join(directory, name), strict=True)
        status = os.stat(target)
    except OSError:
        return None
    if not is_inside(target, base):
        return None
    if stat_bits.S_ISDIR(status.st_mode) and target in _way(root, directory):
        return None
    return status


def _way(root: bytes, directory: bytes) -> set[bytes]:
    """The real paths of all directories from the root to this one."""
    real = {os.path.realpath(root)}
    here = root
    for part in os.path.relpath(directory, root).split(b"/"):
        here = os.path.join(here, part)
        real.add(os.path.realpath(here))
    return real
