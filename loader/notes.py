"""Metadata that belongs to a file whatever its job: the path at the source, where its name in iRODS is another one."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

from core.irods import AVU, source_path_avu
from core.sources.urls import source_path
from inventory.claims import ClaimedFile
from inventory.jobs import Job
from loader.load import Notes

MAPPED_NAME = "irods::automated_ingest::character_map"
MAPPED_UNIT = "python3.base64.b64encode(full_path_of_source_file)"


def path_of(job: Job, relative: str) -> bytes:
    """The path of a file or directory at the source: /directory/name, or /bucket/key."""
    path = source_path(job.source_url, relative)
    return path if relative else path.rstrip(b"/") or b"/"


def kept_name(job: Job, file: ClaimedFile, names: Callable[[str], str] = str) -> Notes:
    """Keeps the path of a file with its object, where iRODS cannot hold its name or `names` maps it, each under its own
    attribute.

    In the way of automated ingest, for programs that read its catalogues.
    """
    mapped = names(file.path) != file.path
    if not mapped and "%" not in file.path:  # the mark of every escaped name
        return Notes()
    if not job.settings.keep_source_names or job.settings.operation == "verify":
        return Notes()
    path = path_of(job, file.path)
    kept = [AVU(MAPPED_NAME, b64encode(path).decode(), MAPPED_UNIT)] if mapped else []
    if avu := source_path_avu(path):
        kept.append(avu)
    return Notes(kept)
