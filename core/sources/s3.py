"""Objects of a bucket as files: a prefix that ends in '/' is a directory. How keys become paths is said in `keys`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.errors import Outage, Permanent, UsageError, Vanished
from core.paths import checked_physical
from core.settings import S3Settings
from core.sources import keys
from core.sources.base import DIRECTORY, REGULAR, WHOLE, Entry, Keys, Stat
from core.sources.s3_bucket import Bucket, Listed
from core.sources.s3_file import S3File
from core.sources.s3_ranges import cut


class S3Source:
    """The keys of a bucket that begin with a prefix; s3://bucket/a/b is the prefix a/b/, s3://bucket the whole bucket."""

    def __init__(self, url: str, settings: S3Settings) -> None:
        name, _, prefix = url.removeprefix("s3://").partition("/")
        if not name:
            raise UsageError(f"source {url} names no bucket", "write s3://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
        self._bucket = Bucket(name, settings)

    shared_suffix = keys.SLASH

    def check(self) -> None:
        self._bucket.check(self._prefix)

    def scan(self, directory: str, part: Keys = WHOLE) -> S3Listing:
        """The entries of a directory, or of a part of it. Raises FileError; Vanished when no key is below it any more."""
        return S3Listing(self._bucket, self._prefix_of(directory), part, is_root=not directory)

    def look(self, path: str) -> Stat:
        """What a file is now. Raises FileError; Vanished when it is gone."""
        return self.open(path).stat()

    def entry(self, path: str) -> Entry:
        """What an object is now. Raises FileError; Vanished when it is gone."""
        now = self.look(path)
        return Entry(path.rpartition("/")[2], REGULAR, now.size, now.modified_at, now.tag)

    def open(self, path: str, seen: Stat | None = None) -> S3File:
        return S3File(self._bucket, self._key(path), path, seen)

    def physical_path(self, path: str) -> str:
        """The path that an S3 resource of iRODS knows an object by: /bucket/key."""
        return checked_physical(path, f"/{self._bucket.name}/{self._key(path)}")

    def place(self, name: bytes, bucket: str | None = None) -> tuple[str, str] | None:
        """The path of an object that shares its key with no prefix, and what its key has after the last '/'.

        `name` is what its key has below the source's prefix; with the name of a bucket, its whole key. None for another bucket
        or prefix, and for the prefix itself. Raises ValueError for what is no UTF-8.
        """
        key = name.decode()
        if bucket is not None:
            if bucket != self._bucket.name or not key.startswith(self._prefix):
                return None
            key = key[len(self._prefix) :]
        return None if not key else (keys.path_of(key), key.rpartition("/")[2])

    def _prefix_of(self, directory: str) -> str:
        return self._prefix + self._told(keys.prefix_of, directory)

    def _key(self, path: str) -> str:
        return self._prefix + self._told(keys.key_of, path)

    @staticmethod
    def _told(decode: Callable[[str], str], path: str) -> str:
        try:
            return decode(path)
        except UnicodeDecodeError as error:
            raise Permanent("bad_key", f"{path}: no key of S3 has this path") from error


class S3Listing(Iterator[Entry]):
    """The listing of one directory, of which only a page is held at a time.

    An object stays back while its key may yet be met as a prefix, which then takes the plain name: those held are each
    the beginning of the next one, so they are few.
    """

    def __init__(self, bucket: Bucket, prefix: str, part: Keys, *, is_root: bool) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._part = part
        self._is_root = is_root
        self._read = part.after
        self._until = part.until
        self._held: list[Listed] = []
        self._entries = self._list()

    def __iter__(self) -> S3Listing:
        return self

    def __next__(self) -> Entry:
        return next(self._entries)

    def divide(self) -> list[Keys]:
        """End the listing after what was read of it so far, and cut the rest into parts for others; [] when that is no use.

        What is held back is still to be taken from the iterator then. A few requests. Raises FileError.
        """
        parts = cut(self._first, self._read, self._until)
        if parts:
            self._until = self._read
        return parts

    def _first(self, after: str) -> str | None:
        found = self._bucket.first(self._prefix, self._prefix + after)
        return found.removeprefix(self._prefix) if found else None

    def _list(self) -> Iterator[Entry]:
        after = self._part.after
        nothing = True
        for one in self._bucket.listing(self._prefix, self._prefix + after if after else ""):
            name = one.key.removeprefix(self._prefix)
            if (after and name <= after) or (self._until is not None and name > self._until):
                if after and name <= after:
                    continue  # S3 names a common prefix again of which keys are beyond `after`
                break
            nothing = False
            self._read = name
            yield from self._released(name)
            if one.is_prefix:
                yield from self._named(name)
            elif name or one.size:  # an empty object whose key ends in '/' stands for the directory itself
                self._held.append(one._replace(key=name))
        if nothing and self._bucket.first(self._prefix) is None:
            self._all_gone()
        while self._held:
            yield self._entry(one := self._held.pop(), self._is_cut_off(one.key))

    def _released(self, name: str) -> Iterator[Entry]:
        """Those held objects whose keys cannot come as a prefix any more now that `name` came."""
        while self._held and not (name.startswith(held := self._held[-1].key) and name <= f"{held}/"):
            yield self._entry(self._held.pop(), False)

    def _named(self, name: str) -> Iterator[Entry]:
        if self._held and f"{self._held[-1].key}/" == name:
            yield self._entry(self._held.pop(), True)
        yield Entry(keys.segment_name(name[:-1]), DIRECTORY, 0, 0)

    def _is_cut_off(self, name: str) -> bool:
        """Whether an object's key is also a prefix that belongs to the next part of the listing."""
        if self._until is None or f"{name}/" <= self._until:
            return False
        return self._bucket.first(f"{self._prefix}{name}/") is not None

    @staticmethod
    def _entry(one: Listed, shares: bool) -> Entry:
        name = keys.segment_name(one.key)
        if shares:
            name += keys.SLASH
        return Entry(name, REGULAR, one.size, one.modified_at, one.tag)

    def _all_gone(self) -> None:
        """Nothing is below the prefix: a directory is gone then, and of a part of the root nothing is said of its files."""
        if not self._is_root:
            raise Vanished("NoSuchKey", f"{self._bucket.where(self._prefix)}: no key begins with this")
        if self._part != WHOLE:
            raise Outage(
                "source_empty", f"{self._bucket.where(self._prefix)} is empty now", "is this the right bucket?"
            )
