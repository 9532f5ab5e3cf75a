"""Settings whose value means nothing are refused, each with one sentence."""

import math
import re

import pytest

from tickarrow.configs.gateway import GatewayConf
from tickarrow.configs.record import RecordConf
from tickarrow.configs.runtime import BudgetConf, CollectConf, RuntimeConf
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.settings import RULES, check_group
from tickarrow.pipeline.subscriptions import Subscriptions
from tickarrow.pipeline.universe import Universe

NUMBERS = ("silent_s", "silent_gaps", "retry_max_s", "displaced_retry_s", "ping_after_s", "ping_timeout_s", "reconnect_min_s", "reconnect_max_s",
           "reconnect_give_up_s")  # fmt: skip
WRONG = [("data_requests", 1), ("market_data_type", 0), ("market_data_type", 5), *((n, x) for n in NUMBERS for x in (-0.5, math.nan)),
         *(("generic_ticks", t) for t in ("tea", "233;236", "233,", ",233", "233,,236", "-1", "1.5", "233 236", "²"))]  # fmt: skip
RIGHT = [("data_requests", 2), ("market_data_type", 1), ("market_data_type", 4), *((n, x) for n in NUMBERS for x in (0.0, 0.5, math.inf)),
         *(("generic_ticks", t) for t in ("", "233", "233,236,100"))]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_gateway_setting_that_means_nothing_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"^gateway\.{name} is {re.escape(repr(value))}: [^\n]+[^.]\.$"):
        Subscriptions(GatewayConf(**{name: value}), Universe(()))


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_a_gateway_setting_at_its_bound_is_accepted(name, value):
    Subscriptions(GatewayConf(**{name: value}), Universe(()))


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_a_journal_is_not_synced_at_times_that_are_none(tmp_path, value):
    with pytest.raises(ConfigError, match=rf"^record\.sync_s is {value}: expected seconds, from 0 on\.$"):
        Journal(tmp_path, sync_s=value)
    assert not any(tmp_path.iterdir())


def test_every_rule_is_of_a_setting_whose_default_is_right():
    check_group("gateway", GatewayConf())
    check_group("record", RecordConf())
    check_group("runtime", RuntimeConf())
    check_group("runtime.collect", CollectConf())
    check_group("runtime.budget", BudgetConf())
    assert {name.rpartition(".")[0] for name in RULES} == {"gateway", "record", "runtime", "runtime.collect", "runtime.budget"}
