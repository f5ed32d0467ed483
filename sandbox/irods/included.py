"""Metadata and access that a put brings along in its keywords `metadataIncluded` and `aclIncluded`."""

from __future__ import annotations

from sandbox.irods.access_control import change_access
from sandbox.irods.agent import Agent
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.metadata import Avu, attach, entity


def split_list(text: str, separators: str = ";") -> list[str]:
    """The items of a list as clients write it; a backslash takes the next character as it is."""
    items, item, escaped = [], [], False
    for char in text:
        if escaped:
            item.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in separators:
            items.append("".join(item))
            item = []
        else:
            item.append(char)
    items.append("".join(item))
    return items


def triplets(text: str) -> list[Avu]:
    """AVUs of `a;v;u;a;v;u`; the last unit may be missing. SYS_BAD_INPUT otherwise."""
    items = split_list(text)
    if len(items) % 3 == 2:
        items.append("")
    if len(items) % 3:
        raise IrodsError(Code.SYS_BAD_INPUT)
    return [Avu(*items[at : at + 3]) for at in range(0, len(items), 3)]


def grants(text: str) -> list[tuple[str, str]]:
    """(level, user or user#zone) of `read alice;own bob#otherZone`. SYS_BAD_INPUT otherwise."""
    found = []
    for item in text.split(";"):
        parts = split_list(item.strip(), " ")
        if len(parts) != 2:
            raise IrodsError(Code.SYS_BAD_INPUT)
        found.append((parts[0], parts[1]))
    return found


def check_included(keywords: dict[str, str]) -> None:
    """Refuse a put whose lists cannot be read, before anything is written."""
    if "metadataIncluded" in keywords:
        triplets(keywords["metadataIncluded"])
    if "aclIncluded" in keywords:
        grants(keywords["aclIncluded"])


def apply_included(agent: Agent, path: str, keywords: dict[str, str]) -> None:
    """Attach and grant what the keywords say, as the client user."""
    if "metadataIncluded" in keywords:
        found = entity(agent, "-d", path)
        with agent.catalogue.change() as db:
            for avu in triplets(keywords["metadataIncluded"]):
                attach(agent, db, found, avu, again=True)
    if "aclIncluded" in keywords:
        for access, who in grants(keywords["aclIncluded"]):
            name, _, zone = who.partition("#")
            change_access(agent, path, access, name, zone, recursive=False)
