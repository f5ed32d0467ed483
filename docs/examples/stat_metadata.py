"""Owner, group, mode and time of a file as metadata: ingest job start … --extract-metadata stat_metadata:extract"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from core.handlers import Annotations, Context


def extract(context: Context) -> Annotations:
    """What the filesystem says of a file."""
    status = os.lstat(context.path)
    return Annotations(
        [
            ("filesystem::mode", oct(status.st_mode & 0o7777)),
            ("filesystem::uid", str(status.st_uid)),
            ("filesystem::gid", str(status.st_gid)),
            ("filesystem::mtime", datetime.fromtimestamp(status.st_mtime, UTC).isoformat()),
        ]
    )
