"""Files whose own path iRODS cannot hold, registered by the path of a symbolic link that leads to them.

The catalogue keeps physical paths as UTF-8 text: Postgres refuses any other byte (CAT_SQL_ERR), whichever call brings it. The
server follows a link when it opens what is registered, so that the object has the bytes of the file. The source is never written
to: links lie in a folder of their own, job.link_folder.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256

from core.errors import Permanent

PREFIX = "irods_UnicodeEncodeError_"
"""What the links' names begin with; the SHA-256 of the path they lead to follows, for that may be longer than a name."""


def link_to(folder: str, where: bytes) -> str:
    """The path of the link that leads to the file at `where`, the same one each time."""
    return f"{folder.rstrip('/')}/{PREFIX}{sha256(where).hexdigest()}"


def make(link: str, where: bytes) -> None:
    """Have a link lead to a file; others may do the same at the same time. Raises Permanent."""
    hint = "let the loader's user write to job.link_folder, then `ingest retry`"
    try:
        with suppress(FileExistsError):
            os.symlink(where, link)
        found = os.readlink(os.fsencode(link))
    except OSError as error:
        raise Permanent("bad_link_folder", f"cannot make the link {link}: {error.strerror}", hint) from error
    if found != where:
        raise Permanent("bad_link_folder", f"{link} leads elsewhere", "remove it, then `ingest retry`")


def remove(link: str) -> None:
    """Remove the link to a file that is gone, if there is one; one that stays leads nowhere, and harms nobody."""
    with suppress(OSError):
        if os.path.islink(link):
            os.unlink(link)
