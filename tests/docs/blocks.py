"""The code blocks of README.md and docs/*.md, and which of them a test runs.

A block's info string says what becomes of it. `sh` and `python` are run, page by page, by tests/e2e/test_docs_commands.py;
`python NAME` is written to a file of that name there. A second word says why a shell block is not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DERIVED = {"commands.md", "settings.md", "errors.md"}
"""Written from the code; other tests look at them."""
RUN_IN_ORDER = (
    "docs/first-file.md",
    "README.md",
    "docs/try-irods.md",
    "docs/jobs.md",
    "docs/operations.md",
    "docs/sources.md",
    "docs/event-handlers.md",
    "docs/status-page.md",
    "docs/s3.md",
)
"""The pages whose blocks are run, one after another in one installation."""
NOT_RUN = {
    "install": "gets this program from elsewhere",
    "cluster": "needs a cluster: tests/manifests and `make test-cluster` try the same",
    "production": "names servers of a site",
    "icommands": "needs the iCommands, of which no package is at hand",
    "long": "takes minutes; tests/e2e/test_demo.py and others run the same",
}
DATA = {"text", "yaml", "json", "ini", "csv", "sql"}

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: the page relative to the project, its line, the words behind the fence, and its text."""

    page: str
    line: int
    info: tuple[str, ...]
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    whole = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(whole):
        line = whole.count("\n", 0, found.start()) + 1
        yield Block(str(page.relative_to(ROOT)), line, tuple(found["info"].split()), found["text"])


def unfenced(page: Path) -> list[int]:
    """Lines of code that is only indented, so that nothing says what it is."""
    whole = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), page.read_text(encoding="utf-8"))
    lines = whole.splitlines()
    return [
        number
        for number, (before, line) in enumerate(pairwise(lines), 2)
        if not before.strip() and line.startswith("    ")
    ]


def is_run(block: Block) -> bool:
    """Whether a test runs, or writes for those that are run, what the block says."""
    return block.info[:1] == ("python",) or block.info == ("sh",)
