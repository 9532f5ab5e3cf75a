import importlib
from pathlib import Path

import numpy as np
import pytest

from tickarrow.pipeline.market_facts import SECOND


@pytest.fixture(scope="module")
def money_module():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
        return importlib.import_module("benchmarks.market_money")


def test_decayed_sums_equal_their_definition(money_module):
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 20 * SECOND, 60))
    values, grid = rng.normal(size=60), np.arange(5, 15) * SECOND
    expected = [sum(v * np.exp(-(g - s) / (3 * SECOND)) for s, v in zip(t, values) if s <= g) for g in grid]
    np.testing.assert_allclose(money_module.decayed(t, values, grid, 3.0), expected)


def test_paying_the_spread_loses(money_module, capsys):
    # An hour for an hour: the whole comparison over ten sessions is the script's. Longer horizons need more sessions than a test has.
    got = money_module.main(2, 4, 3600, ["large", "small", "etf"])
    for (name, horizon), (net, _) in got.items():
        if horizon <= 30:
            assert net < 0, (name, horizon, net)
    assert capsys.readouterr().out.count("\n") == 16
