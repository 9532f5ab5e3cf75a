"""The memory of a pipeline whose tables are recycled does not grow."""

from __future__ import annotations

from steady_memory import PAGE, run

SLACK = 4 << 20  # bytes: tables touch their last pages, and the allocator of the market's blocks keeps some back or not


def test_resident_memory_is_flat_over_a_million_ticks(tmp_path):
    seen = list(run(1_000_000, 20, tmp_path))
    late = [n for done, n in seen if done > 500_000]
    assert seen[-1][0] >= 1_000_000
    assert (max(late[len(late) // 2 :]) - max(late[: len(late) // 2])) * PAGE <= SLACK, late
