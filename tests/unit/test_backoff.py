"""The breaker: longer and longer while a service is away, nothing once it is back."""

from __future__ import annotations

from core.backoff import Breaker


def test_a_breaker_waits_longer_after_each_failure_up_to_its_limit() -> None:
    now = 0.0
    breaker = Breaker(longest_seconds=8, clock=lambda: now)
    waits = []
    for _ in range(6):
        waits.append(breaker.failed())
        assert breaker.is_open
        again = breaker.failed()
        assert again == waits[-1]  # failures while it is open are of the same outage
        now += waits[-1] + 0.001
        assert not breaker.is_open
        assert breaker.is_suspicious
    for wait, nominal in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert 0.9 * nominal <= wait <= 1.1 * nominal


def test_a_success_closes_it() -> None:
    breaker = Breaker(clock=lambda: 0.0)
    breaker.failed()
    breaker.succeeded()
    assert not breaker.is_open
    assert not breaker.is_suspicious
