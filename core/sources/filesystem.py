"""Files below a directory of a mounted filesystem."""

from __future__ import annotations

import errno
import os
import stat as stat_bits
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import FileError, Outage, Permanent, Transient, UsageError, Vanished
from core.paths import checked_physical, escape, unescape
from core.sources.base import DIRECTORY, REGULAR, UNKNOWN, WHOLE, Entry, Keys, Stat
from core.sources.link_folder import link_to
from core.sources.links import is_inside, target_status

# datetime, and so every client of the inventory, knows the years 1 to 9999 only; some filesystems keep wilder stamps
_EARLIEST, _LATEST = UNKNOWN[1], 253_402_300_799_000_000

_KIND_OF = {
    stat_bits.S_IFREG: "f",
    stat_bits.S_IFDIR: "d",
    stat_bits.S_IFLNK: "l",
    stat_bits.S_IFSOCK: "s",
    stat_bits.S_IFIFO: "p",
    stat_bits.S_IFCHR: "c",
    stat_bits.S_IFBLK: "b",
}
_GONE = {errno.ENOENT, errno.ENOTDIR}
# a mount that is away or a server that does not answer: nobody's file is at fault
_AWAY = {errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV}
_SHUT = {errno.EACCES, errno.EPERM}
_FOREVER = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.ENXIO}


def _modified_at(status: os.stat_result) -> int:
    return min(max(status.st_mtime_ns // 1000, _EARLIEST), _LATEST)


def _kind(mode: int) -> str:
    return _KIND_OF.get(stat_bits.S_IFMT(mode), "?")


def _file_error(error: OSError, path: str) -> FileError:
    name = errno.errorcode.get(error.errno or 0, "EIO")
    message = f"{path}: {error.strerror or error}"
    if error.errno in _GONE:
        return Vanished(name, message)
    if error.errno in _AWAY:
        return Outage(name, message, "is the source mounted?")
    if error.errno in _FOREVER:
        return Permanent(name, message, "make it readable for the loader's user, then retry")
    return Transient(name, message)


def _by_its_name(entry: os.DirEntry[str], error: OSError) -> Entry:
    """An entry that is listed and cannot be looked at, so that it keeps no other one from being listed.

    Raises the error where all entries have it, the directory being shut or the mount away, or where nobody can say of what kind
    this one is: a file that seems to be gone would be deleted.
    """
    if error.errno in _SHUT:
        raise error
    if entry.is_dir(follow_symlinks=False):
        kind = DIRECTORY
    elif error.errno not in _AWAY and entry.is_file(follow_symlinks=False):
        kind = REGULAR
    else:
        raise error
    return Entry(escape(os.fsencode(entry.name)), kind, *UNKNOWN)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Tell of an OSError in our own words."""
    try:
        yield
    except OSError as error:
        raise _file_error(error, path) from error


class FilesystemFile:
    """An open regular file."""

    def __init__(self, where: bytes, path: str, *, inside: bytes | None = None) -> None:
        """`inside` is the root that a link must not lead out of; None: links are not followed."""
        self._where = where
        self._path = path
        self._status = os.lstat if inside is None else os.stat
        with _told(path):
            # without O_NONBLOCK a pipe that has taken the file's place would block the open for ever
            self._fd = os.open(
                where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if inside is None else 0)
            )
            status = os.fstat(self._fd)
        if inside is not None and not is_inside(os.readlink(b"/proc/self/fd/%d" % self._fd), os.path.realpath(inside)):
            os.close(self._fd)
            raise Vanished("link_escapes", f"{path}: leads out of the source now")
        if not stat_bits.S_ISREG(status.st_mode):
            os.close(self._fd)
            raise Vanished("not_regular", f"{path}: is a {_kind(status.st_mode)!r} now, no regular file")
        self._opened = (status.st_dev, status.st_ino)

    def read_at(self, offset: int, length: int) -> bytes:
        with _told(self._path):
            return os.pread(self._fd, length, offset)

    def stat(self) -> Stat:
        with _told(self._path):
            status = self._status(self._where)
        if (status.st_dev, status.st_ino) != self._opened:
            # replaced by rename: what was read is not what the name stands for; -1 is no file's size, so it counts as changed
            return Stat(status.st_size if status.st_size != self._size() else -1, _modified_at(status))
        return Stat(status.st_size, _modified_at(status))

    def promise(self) -> str | None:
        return None

    def checksum(self) -> str | None:
        return None

    def _size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)


class FilesystemSource:
    """The tree below `root`, an absolute path; with `follows` links stand for what they lead to (`core.sources.links`).

    With a `link_folder` files whose path iRODS cannot hold are registered by links in it (`core.sources.link_folder`).
    """

    def __init__(self, root: str, *, follows: bool = False, link_folder: str | None = None) -> None:
        self._root = os.fsencode(root).rstrip(b"/") or b"/"
        self._follows = follows
        self._link_folder = link_folder

    def _where(self, path: str) -> bytes:
        return os.path.join(self._root, unescape(path)) if path else self._root

    def check(self) -> None:
        where = os.fsdecode(self._root)
        folder = None if self._link_folder is None else os.path.realpath(os.fsencode(self._link_folder))
        if folder is not None and is_inside(folder, os.path.realpath(self._root)):
            raise UsageError(f"job.link_folder is inside of the source {where}", "name a directory beside it")
        try:
            with os.scandir(self._root) as entries:
                next(entries, None)
        except FileNotFoundError as error:
            raise UsageError(f"source {where} does not exist", "check the path, and that it is mounted here") from error
        except NotADirectoryError as error:
            raise UsageError(f"source {where} is not a directory", "name the directory that holds the files") from error
        except OSError as error:
            raise UsageError(f"source {where} cannot be read: {error.strerror}", "check its permissions") from error

    def scan(self, directory: str, part: Keys = WHOLE) -> Iterator[Entry]:
        # one turn of this loop is what a file of the source costs: no call that it can do without
        new, type_bits, kinds = tuple.__new__, stat_bits.S_IFMT, _KIND_OF
        where = self._where(directory)
        try:
            # By descriptor: what is looked at is the directory that was opened, also when a volume is mounted over its path or
            # taken away meanwhile. By path each name would seem to be gone then, and a full directory would seem empty.
            opened = self._opened(where)
            try:
                with os.scandir(opened) as entries:  # names as text, decoded in C; os.fsencode gives their bytes back
                    for entry in entries:
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue  # gone between the listing and the stat
                        except OSError as error:
                            yield _by_its_name(entry, error)
                            continue
                        name = entry.name
                        if not (name.isascii() and name.isprintable()) or "%" in name:
                            name = escape(os.fsencode(name))
                        kind = kinds.get(type_bits(status.st_mode), "?")
                        if kind == "l" and self._follows:
                            status = target_status(self._root, where, os.fsencode(entry.name)) or status
                            kind = _kind(status.st_mode)
                        modified_at = status.st_mtime_ns // 1000
                        if not _EARLIEST <= modified_at <= _LATEST:
                            modified_at = _modified_at(status)
                        yield new(Entry, (name, kind, status.st_size, modified_at, None))
            finally:
                os.close(opened)
        except OSError as error:
            raise self._unless_away(_file_error(error, directory or os.fsdecode(where))) from error

    shared_suffix = ""

    def place(self, name: bytes, bucket: str | None = None) -> tuple[str, str] | None:
        """The escaped path below the root of a name that is relative to it or absolute, and its last part; None for the root.

        Raises ValueError for a name outside of the root.
        """
        if bucket is not None:
            raise ValueError(f"it is of the bucket {bucket}, and the source is a directory")
        if name.startswith(b"/"):
            if name != self._root and not name.startswith(self._root.rstrip(b"/") + b"/"):
                raise ValueError(f"{escape(name)} is not below {os.fsdecode(self._root)}")
            name = name[len(self._root) :]
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts or any(b"\0" in part for part in parts):
            raise ValueError(f"{escape(name)} has a segment '..' or a NUL")
        names = [escape(part) for part in parts]
        return ("/".join(names), names[-1]) if names else None

    def entry(self, path: str) -> Entry:
        """What is at a path now. Raises FileError; Vanished when nothing is."""
        where = self._where(path)
        with self._if_mounted(), _told(path):
            status = os.lstat(where)
        if stat_bits.S_ISLNK(status.st_mode) and self._follows:
            status = target_status(self._root, os.path.dirname(where), os.path.basename(where)) or status
        return Entry(path.rpartition("/")[2], _kind(status.st_mode), status.st_size, _modified_at(status))

    def _opened(self, where: bytes) -> int:
        """A descriptor of a directory; what was a directory and is a link now is gone."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if where != self._root and not self._follows:
            flags |= os.O_NOFOLLOW
        try:
            return os.open(where, flags)
        except OSError as error:
            if error.errno == errno.ELOOP and flags & os.O_NOFOLLOW:
                raise NotADirectoryError(errno.ENOTDIR, "is a link now") from error
            raise

    def exists(self, path: str) -> bool:
        """Whether there is anything of that name. Raises FileError when nobody can say."""
        try:
            with _told(path):
                os.lstat(self._where(path))
        except Vanished:
            return False
        return True

    def following(self) -> FilesystemSource:
        """The same tree with links taken for what they lead to, where that is safe."""
        return FilesystemSource(os.fsdecode(self._root), follows=True, link_folder=self._link_folder)

    def linking(self, folder: str) -> FilesystemSource:
        """The same tree, whose files have a physical path in this folder where iRODS cannot hold their own."""
        return FilesystemSource(os.fsdecode(self._root), follows=self._follows, link_folder=folder)

    def directory_modified_at(self, directory: str) -> int:
        """When a name was last added to a directory or taken from it, in microseconds since 1970. Raises FileError."""
        with self._if_mounted(), _told(directory or os.fsdecode(self._root)):
            return _modified_at(os.lstat(self._where(directory)) if directory else os.stat(self._root))

    def open(self, path: str, seen: Stat | None = None) -> FilesystemFile:
        with self._if_mounted():
            return FilesystemFile(self._where(path), path, inside=self._root if self._follows else None)

    @contextmanager
    def _if_mounted(self) -> Iterator[None]:
        """Let nothing vanish because the whole source is away."""
        try:
            yield
        except Vanished as gone:
            raise self._unless_away(gone) from gone.__cause__

    def _unless_away(self, error: FileError) -> FileError:
        """The same error, or that the whole source is away: below an empty or missing root everything is missing."""
        if not isinstance(error, Vanished):
            return error
        try:
            with os.scandir(self._root) as entries:
                mounted = next(entries, None) is not None
        except OSError:
            mounted = False
        root = os.fsdecode(self._root)
        return error if mounted else Outage("source_away", f"source {root} is missing or empty", "is it mounted?")

    def physical_path(self, path: str) -> str:
        where = self._where(path)
        try:
            return checked_physical(path, where.decode("utf-8", "surrogateescape"))
        except Permanent:
            if self._link_folder is None:
                raise
            return checked_physical(path, link_to(self._link_folder, where))
