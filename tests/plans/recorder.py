"""What the planner chooses for each statement that is really run, at the moment it is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from inventory.engine import Database

Node = dict[str, Any]


@dataclass
class Plans:
    """The plans of the statements that read or write `table`, each with its statement."""

    found: list[tuple[str, Node]] = field(default_factory=list)
    table: str = "file"

    def scans(self) -> list[tuple[str, Node]]:
        """Every look into a partition: its statement and its node."""
        return [(s, node) for s, plan in self.found for node in nodes(plan) if _is_partition(node)]

    def of(self, words: str) -> list[Node]:
        """The looks into the table by statements in which these words stand."""
        looks = [node for s, plan in self.found for node in nodes(plan) if words in s and self._is_read(node)]
        assert looks, f"no statement with {words!r} was run"
        return looks

    def _is_read(self, node: Node) -> bool:
        return node.get("Relation Name") == self.table and node["Node Type"] != "ModifyTable"

    def assert_by_index(self) -> None:
        """Every look into a partition goes by an index with a condition, or in the order of a partial one to a limit."""
        assert self.scans()
        for statement, node in self.scans():
            kind = node["Node Type"]
            assert kind in ("Index Scan", "Index Only Scan"), f"{kind} of {node['Relation Name']}: {statement}"
            ordered = "_directory_id_name_idx" in node["Index Name"]
            assert ordered or "Index Cond" in node, f"all of {node['Index Name']}: {statement}"

    def assert_by_key(self) -> None:
        """The same, and every row that is changed is found by its key, once for each that is given."""
        self.assert_by_index()
        for statement, plan in self.found:
            for update in (node for node in nodes(plan) if node["Node Type"] == "ModifyTable"):
                if update["Operation"] == "Update" and str(update.get("Relation Name", "")).startswith("file"):
                    read = [node for node in nodes(update) if _is_partition(node) and node is not update]
                    assert [node["Index Name"] for node in read if not node["Index Name"].endswith("_pkey")] == [], (
                        statement
                    )
                    for node in read:
                        assert "name" in node["Index Cond"], f"{node['Index Cond']}: {statement}"

    def assert_nothing_read_whole(self) -> None:
        """No join builds a hash of a partition, or sorts one."""
        for statement, plan in self.found:
            for node in nodes(plan):
                if node["Node Type"] in ("Hash", "Sort"):
                    parts = [
                        part for part in node["Plans"] if "Subplan Name" not in part
                    ]  # CTEs hang below the top node
                    below = [n for part in parts for n in nodes(part) if _is_partition(n) and "Index Cond" not in n]
                    assert not below, f"{node['Node Type']} of {below[0]['Relation Name']}: {statement}"


def nodes(plan: Node) -> Iterator[Node]:
    """A plan's nodes from the top down."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def _is_partition(node: Node) -> bool:
    return str(node.get("Relation Name", "")).startswith("file_") and node["Node Type"] != "ModifyTable"


@contextmanager
def explained(database: Database, table: str = "file") -> Iterator[Plans]:
    """Explain every statement about a table just before it is run, with its values and on its connection."""
    plans = Plans(table=table)
    begins = ("SELECT", "UPDATE", "INSERT", "DELETE", "WITH")

    def explain(connection: Any, cursor: Any, statement: str, values: Any, *rest: Any) -> None:
        if f"inventory.{table} " in statement and statement.lstrip().startswith(begins):
            with connection.connection.cursor() as other:
                other.execute(f"EXPLAIN (FORMAT JSON, VERBOSE off) {statement}", values)
                [[plan]] = other.fetchall()
            parsed = plan if isinstance(plan, list) else json.loads(plan)
            plans.found.append((" ".join(statement.split()), parsed[0]["Plan"]))

    event.listen(database.engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(database.engine, "before_cursor_execute", explain)
