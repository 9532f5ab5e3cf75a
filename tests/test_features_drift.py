"""The short form of tests/drift.py: two sessions of a generated market; the second alone gives the same rows at its end."""

from __future__ import annotations

import drift


def test_features_of_a_long_market_equal_those_of_its_last_session():
    ticks, results = drift.run(1_000_000, 6, "small")
    assert ticks > 800_000
    assert min(r.values for r in results) > 10_000
    assert not drift.failures(results)
    assert {r.column for r in results} >= drift.EXACT | set(drift.EXEMPT)
    assert sum(r.equal == r.values for r in results) > 0.9 * len(results)
