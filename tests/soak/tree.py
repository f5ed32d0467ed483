"""A tree that changes all the time: files created, rewritten, appended, replaced, renamed, removed; directories too."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path


class Tree:
    """Random changes below a folder.

    Every content has a size of its own: on filesystems whose clock ticks every 4 ms, a change that keeps size and time is no
    change that anybody could see.
    """

    def __init__(self, root: Path, generator: random.Random) -> None:
        self._root = root
        self._random = generator
        self._size = 0
        self.done: Counter[str] = Counter()

    def change(self, times: int) -> None:
        """Make so many changes."""
        changes = {
            self._create: 40,
            self._rewrite: 20,
            self._append: 10,
            self._replace: 8,
            self._rename: 8,
            self._remove: 6,
            self._make_folder: 3,
            self._rename_folder: 1,
            self._remove_folder: 1,
        }
        for change in self._random.choices(list(changes), list(changes.values()), k=times):
            if change():
                self.done[change.__name__.strip("_").replace("_", " ")] += 1

    def files(self) -> list[Path]:
        return sorted(path for path in self._root.rglob("*") if path.is_file())

    def _folders(self) -> list[Path]:
        return [self._root, *sorted(path for path in self._root.rglob("*") if path.is_dir())]

    def _file(self) -> Path | None:
        files = self.files()
        return self._random.choice(files) if files else None

    def _content(self) -> bytes:
        self._size += 1
        kind = self._random.random()
        base = 0 if kind < 0.93 else 1_200_000 if kind < 0.98 else 5_000_000  # a bundle, one put, a stream
        return self._random.randbytes(base + self._size)

    def _new_path(self) -> Path:
        return self._random.choice(self._folders()) / f"f{self._random.randrange(1 << 30)}"

    def _create(self) -> bool:
        self._new_path().write_bytes(self._content())
        return True

    def _rewrite(self) -> bool:
        if path := self._file():
            path.write_bytes(self._content())
        return path is not None

    def _append(self) -> bool:
        if path := self._file():
            with path.open("ab") as file:
                file.write(self._random.randbytes(100))
        return path is not None

    def _replace(self) -> bool:
        if path := self._file():
            new = path.with_name(f".{path.name}.new")
            new.write_bytes(self._content())
            os.replace(new, path)
        return path is not None

    def _rename(self) -> bool:
        if path := self._file():
            path.rename(self._new_path())
        return path is not None

    def _remove(self) -> bool:
        if path := self._file():
            path.unlink()
        return path is not None

    def _make_folder(self) -> bool:
        parents = [path for path in self._folders() if len(path.relative_to(self._root).parts) < 4]
        (self._random.choice(parents) / f"d{self._random.randrange(1 << 30)}").mkdir()
        return True

    def _rename_folder(self) -> bool:
        if path := self._folder_below():
            path.rename(self._root / f"d{self._random.randrange(1 << 30)}")
        return path is not None

    def _remove_folder(self) -> bool:
        if path := self._folder_below():
            shutil.rmtree(path)
        return path is not None

    def _folder_below(self) -> Path | None:
        folders = self._folders()[1:]
        return self._random.choice(folders) if len(folders) > 5 else None
