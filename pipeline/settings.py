"""Settings whose type is right and whose value may still mean nothing: what each of them has to be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tickarrow.pipeline.errors import ConfigError

Rule = tuple[Callable[[Any], bool], str]  # whether a value is right; what is expected
SECONDS: Rule = (lambda x: x >= 0, "expected seconds, from 0 on")  # NaN is not
MILLISECONDS: Rule = (lambda x: x >= 0, "expected milliseconds, from 0 on")
STEPS = {"shadows", "throttle", "symbols"}  # of the plan of a latency budget
RULES: dict[str, Rule] = {
    "gateway.data_requests": (lambda n: n >= 2, "asking again takes two requests, so fewer than 2 a second ask for nothing"),
    "gateway.market_data_type": (lambda n: 1 <= n <= 4, "expected 1 live, 2 frozen, 3 delayed, or 4 delayed and frozen"),
    "gateway.generic_ticks": (lambda text: re.fullmatch(r"([0-9]+(,[0-9]+)*)?", text) is not None, "expected numbers with commas between, as 233,236"),
    "gateway.account_kind": (lambda kind: kind in ("paper", "live"), "expected paper or live"),
    "gateway.skew_s": SECONDS,
    "gateway.disk_gb": (lambda x: x >= 0, "expected GB, from 0 on"),
    "gateway.silent_s": SECONDS,
    "gateway.silent_gaps": (lambda x: x >= 0, "expected a number of gaps, from 0 on"),
    "gateway.retry_max_s": SECONDS,
    "gateway.displaced_retry_s": SECONDS,
    "gateway.ping_after_s": SECONDS,
    "gateway.ping_timeout_s": SECONDS,
    "gateway.reconnect_min_s": SECONDS,
    "gateway.reconnect_max_s": SECONDS,
    "gateway.reconnect_give_up_s": SECONDS,
    "record.sync_s": SECONDS,
    "runtime.mode": (lambda mode: mode in ("shared", "realtime", "reserved"), "choose runtime=shared, runtime=realtime or runtime=reserved"),
    "runtime.warm_ms": MILLISECONDS,
    "runtime.priority": (lambda n: 1 <= n <= 99, "expected a priority of SCHED_FIFO, 1 to 99"),
    "runtime.budget.window_s": (lambda x: x > 0, "expected seconds, more than 0"),
    "runtime.budget.min_rows": (lambda n: n > 0, "expected a number of decisions, more than 0"),
    "runtime.budget.recover_s": SECONDS,
    "runtime.budget.recover_share": (lambda x: 0 < x <= 1, "expected a share of the limit, above 0 and at most 1"),
    "runtime.budget.plan": (lambda plan: set(plan) <= STEPS, f"expected a list of {', '.join(sorted(STEPS))}, in the order in which they are taken"),
    "runtime.budget.throttle_factor": (lambda x: x > 1, "expected a number above 1"),
    "runtime.budget.throttle_least_ms": MILLISECONDS,
    "runtime.collect.every_s": SECONDS,
    "runtime.collect.gap_ms": MILLISECONDS,
    "runtime.collect.pause_ms": MILLISECONDS,
    "record.state_s": SECONDS,
}


def check_setting(name: str, value: Any) -> None:
    """ConfigError if a setting (its full name) may not have this value."""
    right, expected = RULES[name]
    if not right(value):
        raise ConfigError(f"{name} is {value!r}: {expected}.")


def check_group(group: str, conf: Any) -> None:
    """ConfigError names the first setting of a group that may not have its value."""
    for name in RULES:
        of, _, key = name.rpartition(".")
        if of == group:
            check_setting(name, getattr(conf, key))
