"""What becomes of a failed attempt when an event handler has a say in it."""

from __future__ import annotations

from core.outcome import Dead, Outcome, Retry
from loader.handlers.messages import Rules


def settled(outcome: Outcome, rules: Rules, attempts: int, *, by_handler: bool) -> Outcome:
    """A failure repeated as the handler says, after `attempts` that failed before; any other outcome as it is.

    `by_handler` says that the handler itself has failed, by raising or by taking too long.
    """
    if not isinstance(outcome, Retry):
        return outcome
    limit = rules.own_retries if by_handler else rules.max_retries
    if limit is None:
        return outcome
    if attempts >= limit:
        return Dead(outcome.error, outcome.message)
    return Retry(outcome.error, outcome.message, wait_seconds=rules.delay_seconds)
