"""Recording days of trouble: what was sent is there, what is missing has a cause."""

from __future__ import annotations

import record_week


def test_every_message_of_two_days_of_trouble_is_accounted_for(tmp_path):
    found = record_week.record(tmp_path, days=2, symbols=10, speed=60.0, session_s=200)
    faults = found["simulated"]["faults"]
    assert all(counts["times"] >= 1 for counts in faults.values())
    assert len(faults) == 8
    assert found["simulated"]["clients"]["1"]["connections"] >= 2
    counts = record_week.account(found)
    assert counts["sent"] > 4000
    assert counts["missing"] == 0
    assert counts["withheld"] > 4000
    assert counts["withheld_without_cause"] == 0
    assert "all came; faults kept back" in found["said"]
