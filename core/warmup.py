"""Imported before all else by a process that is to live long: nothing of what it reads in at its start is garbage.

Python's collector would look through all of that again and again while it grows, which takes a tenth of the start.
"""

from __future__ import annotations

import gc

gc.disable()


def over() -> None:
    """Collect garbage from now on, and leave what there is out of it: that stays as long as the process."""
    gc.freeze()
    gc.enable()
