"""The config digest: what can change a decision changes it, where things lie and how they are run does not (design contract 8)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import pytest

from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.session import config_digest


@dataclass
class Part:
    weight: float = 0.5
    folder: str = field(default="/a", metadata={"digest": False})


@dataclass
class Whole:
    name: str = "x"
    parts: list[Part] = field(default_factory=lambda: [Part(), Part(2.0)])
    address: Part = field(default_factory=Part, metadata={"digest": False})


def test_the_digest_follows_the_written_rule():
    said = {"name": "x", "parts": [{"weight": 0.5}, {"weight": 2.0}]}
    assert config_digest(Whole()) == hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize(
    "override",
    [
        "risk.hurdle=2", "features.throttle_ns=0", "source.seed=2", "universe.tick_size=0.05", "gateway.latency_ms=20", "orders.ttl_s=1",
        "ensemble.clip=4", "costs.minimum=0", "training.trees=50", "source.day=2013-10-08", "source.tick_size=0.05",
        "models.canary.symbols=[AAA]", "models.swaps=[{at: 90, set: NAME}]",
    ],
)  # fmt: skip
def test_what_can_change_a_decision_changes_the_digest(override):
    assert config_digest(compose("run", [override])) != config_digest(compose("run"))


@pytest.mark.parametrize(
    "override",
    [
        "source.path=/elsewhere/ticks.parquet", "model_set=/elsewhere/set", "record.path=/elsewhere/session", "record.features=true",
        "models=xgboost", "models.compiler=clang", "gateway.host=localhost", "gateway.port=4001", "gateway.client_id=7", "gateway.timeout_s=1",
        "models.registry=/elsewhere", "models.follow=true", "models.shadow=[NAME]", "models.canary.set=NAME", "models.check_every=10",
        "gateway.account=DU7", "gateway.account_kind=live", "gateway.confirm=word", "gateway.once=false",
    ],
)  # fmt: skip
def test_paths_addresses_and_the_engine_do_not(override):
    assert config_digest(compose("run", [override])) == config_digest(compose("run"))
