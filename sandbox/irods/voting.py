"""Which leaf a request on a data object goes to, by the votes of its replicas (iRODS voting.cpp, irods_resource_redirect.cpp)."""

from __future__ import annotations

import sqlite3

from sandbox.irods.agent import Agent
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.replicas import AT_REST, GOOD, INTERMEDIATE, STALE
from sandbox.irods.resources import HIGH, LOW, NONE, Resource


def vote(agent: Agent, row: sqlite3.Row, operation: str, wanted: dict[str, str]) -> float:
    """A leaf's vote for its replica: 1 for one in the state that the operation wants, 0.25 otherwise, 0 if not to be had."""
    leaf = agent.server.resources.of_id(row["resc_id"])
    if leaf.status == "down":
        return NONE
    if row["status"] not in AT_REST:
        token = wanted.get("replicaToken", "")
        known = token and agent.server.tokens.knows(token, row["data_id"], row["repl_num"])
        if row["status"] != INTERMEDIATE or not known:
            return NONE
    if "replNum" in wanted:
        return HIGH if str(row["repl_num"]) == wanted["replNum"] else LOW
    if row["status"] == INTERMEDIATE:
        return LOW
    return HIGH if row["status"] == (STALE if operation == "UNLINK" else GOOD) else LOW


def hierarchy_for_open(agent: Agent, rows: list[sqlite3.Row], wanted: dict[str, str], operation: str) -> Resource:
    """The leaf whose replica is opened, written or unlinked.

    SYS_REPLICA_DOES_NOT_EXIST without replicas, HIERARCHY_ERROR when all vote 0, SYS_REPLICA_INACCESSIBLE when the one
    asked for by number does.
    """
    resources = agent.server.resources
    addressed = resources.addressed(wanted)
    if not rows:
        raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST)
    votes = [(vote(agent, row, operation, wanted), row) for row in rows]
    if max(each for each, _ in votes) == NONE:
        raise IrodsError(Code.HIERARCHY_ERROR)
    if "replNum" in wanted:
        asked = [(each, row) for each, row in votes if str(row["repl_num"]) == wanted["replNum"]]
        if not asked:
            raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST)
        if asked[0][0] == NONE:
            raise IrodsError(Code.SYS_REPLICA_INACCESSIBLE)
        return resources.of_id(asked[0][1]["resc_id"])
    if addressed is not None:
        below = [pair for pair in votes if resources.root(resources.of_id(pair[1]["resc_id"])).id == addressed.id]
        if below and max(each for each, _ in below) > NONE:
            votes = below
    best = max(votes, key=lambda pair: pair[0])
    return resources.of_id(best[1]["resc_id"])


def hierarchy_for_create(agent: Agent, rows: list[sqlite3.Row], wanted: dict[str, str], *, logical: bool) -> Resource:
    """The leaf that a create writes to.

    A logical operation (put, copy) on an object that exists is an overwrite of one of its replicas; otherwise only a
    replica below the resource that the client names is overwritten, and else a new one is made.
    """
    resources = agent.server.resources
    root = resources.addressed(wanted)
    if root is None:
        root = resources.named(wanted.get("defRescName") or agent.server.default_resource)
    names = [resources.hierarchy(row["resc_id"]).split(";") for row in rows]
    if rows and (logical or any(root.name in each for each in names)):
        return hierarchy_for_open(agent, rows, wanted, "WRITE")
    if root.parent is not None:
        raise IrodsError(Code.DIRECT_CHILD_ACCESS)
    return resources.leaf_for_create(root)
