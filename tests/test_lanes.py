"""Rings of bars in lanes, and what holds for every family on the bar clock: a lane depends on nothing but its own bars."""

import feature_bars
import numpy as np
import pytest

from tickarrow.jit import event, lanes, liquidity_bars, season_bars, shape_bars, volatility_bars

pytestmark = pytest.mark.pure
KERNELS = {
    "liquidity": (liquidity_bars, liquidity_bars.liquidity_bars),
    "season": (season_bars, season_bars.season_bars),
    "shape": (shape_bars, shape_bars.shape_bars),
    "volatility": (volatility_bars, volatility_bars.volatility_bars),
}
COUNT = 245


def run(name, made, numbers=None, pos=0, dirty=False):
    """Columns after every bar of each lane, called lane by lane if `numbers` is given, together otherwise; bits."""
    module, kernel = KERNELS[name]
    price, flow = feature_bars.arrays(made)
    n, _, count = price.shape
    f, q = np.full((module.F_ROWS, count), np.nan if dirty else 0.0), np.full((module.Q_ROWS, count), 12_345 * dirty, np.int64)
    out, clock, result = np.full((count, len(module.BAR_COLUMNS)), np.nan), np.zeros(1, event.CLOCK)[0], []
    base, unit = np.full(count, feature_bars.BASE), np.full(count, feature_bars.UNIT)
    for i in range(n):
        bar, number, when = np.ascontiguousarray(flow[i]), np.full(count, i), np.full((2, count), i * 60_000_000_000)
        if numbers is None:
            kernel(f, q, price[i], bar, base, unit, number, when, clock, 0, count, pos + i, out)
        else:
            for k in numbers:
                kernel(f, q, price[i], bar, base, unit, number, when, clock, k, k + 1, pos + i, out)
        result.append(out.copy())
    return np.array(result).tobytes()


@pytest.fixture(scope="module")
def made():
    return [feature_bars.walk(COUNT, seed, still=0.1 * seed, quiet=0.3) for seed in (1, 2)]


@pytest.mark.parametrize("name", KERNELS)
def test_lanes_alone_and_together_give_the_same_bits(name, made):
    assert run(name, made, numbers=(1, 0)) == run(name, made)


@pytest.mark.parametrize("name", KERNELS)
def test_the_place_in_the_ring_changes_no_bit(name, made):
    assert run(name, made, pos=77) == run(name, made)


@pytest.mark.parametrize("name", KERNELS)
def test_a_lane_that_begins_anew_keeps_nothing(name, made):
    assert run(name, made, dirty=True) == run(name, made)


@pytest.mark.parametrize("pos", [4, 5, 9, 123])
def test_sums_run_over_the_newest_bars(pos):
    # bars of value 1, 2, 4, ... in lane 0, negative in lane 1; a ring of 5 from row 1 on, the sum of the newest 3 to row 0
    f = np.zeros((8, 3))
    for bar in range(pos + 1):
        f[1 + bar % 5] = [2.0 ** (bar - pos), -(2.0 ** (bar - pos)), 99.0]
    f[0] = f[6] = 55.0
    lanes.lanes_sum(f, 0, 1, 5, 3, pos, 0, 2)
    assert f[0].tolist() == [1.75, -1.75, 55.0]  # 1 + 1/2 + 1/4; the third lane is not asked for
    f[6, :2] = 0.5
    lanes.lanes_square(f, 7, 1, 5, 3, 6, pos, 0, 2)
    assert f[7, :2].tolist() == [0.25 + 0.0625, 2.25 + 1.0 + 0.5625]
    lanes.lanes_step_square(f, 7, 1, 5, 4, 2, 6, pos, 0, 1)
    assert f[7, 0] == (1 - 0.25 - 1.0) ** 2 + (0.5 - 0.125 - 1.0) ** 2
