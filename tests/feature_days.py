"""What the tests of tick-clock families do to a stream: a night in its middle, times that go back."""

from __future__ import annotations

from feature_run import DAY, MIDNIGHT, run


def session(t):
    """Number of the tick's day in New York."""
    return (t.ts - MIDNIGHT) // DAY


def with_night(ticks, at):
    """Ticks from index `at` on come a day later."""
    return [t if i < at else t._replace(ts=t.ts + DAY) for i, t in enumerate(ticks)]


def forward(ticks):
    """Each symbol's times, where they go back, replaced by its latest time so far."""
    latest, out = {}, []
    for t in ticks:
        latest[t.symbol] = max(latest.get(t.symbol, t.ts), t.ts)
        out.append(t._replace(ts=latest[t.symbol]))
    return out


def bits(family, ticks):
    return run(family, ticks)[1].tobytes()
