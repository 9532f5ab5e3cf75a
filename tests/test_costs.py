"""Commission, fees and one-way cost against IBKR's published examples, whole bills of them, and hand computation."""

import math
from dataclasses import replace
from pathlib import Path

import naive_decide as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tickarrow.configs.costs import CostsConf, RateConf, TierConf
from tickarrow.jit import costs, impact
from tickarrow.pipeline.costs import fees, round_trips, volumes
from tickarrow.pipeline.errors import ConfigError

pytestmark = pytest.mark.pure
ROOT = Path(__file__).resolve().parents[1]
TABLES = sorted(p.stem for p in (ROOT / "conf/costs").glob("*.yaml"))


def shipped(name, **other):
    loaded = OmegaConf.load(ROOT / f"conf/costs/{name}.yaml")
    loaded.pop("defaults")
    return replace(OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(CostsConf), loaded)), **other)


# The tables in force when IBKR wrote its comparison of the two plans (interactivebrokers.ca, f=713): 0.000008 of sales, TAF at most 7.27,
# FINRA 0.00056 of the commission, no audit-trail fee.
THEN = {
    "sec": [RateConf("2023-02-27", 0.000008)], "taf": [RateConf("2023-01-01", 0.000145, 7.27)], "regulatory": [], "as_of": "2023-06-01",
}  # fmt: skip
FIXED_THEN = shipped("ibkr_fixed", **THEN)
TIERED_THEN = shipped("ibkr_tiered", **THEN, finra_pass_through=0.00056)


@pytest.mark.parametrize(("quantity", "price", "expected"), [(100.0, 25.0, 1.00), (1000.0, 25.0, 5.00), (1000.0, 0.25, 2.50)])
def test_commission_equals_the_examples_of_ibkr(quantity, price, expected):
    assert costs.commission_point(fees(shipped("ibkr_fixed"))[0], quantity, price) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("conf", "quantity", "adds", "expected"), [
    (TIERED_THEN, 30_000_000.0, 1, -13_811.9), (TIERED_THEN, 30_000_000.0, 0, 139_188.1), (TIERED_THEN, 200_000.0, 0, 1355.78),
    (FIXED_THEN, 30_000_000.0, 1, 151_207.27), (FIXED_THEN, 30_000_000.0, 0, 151_207.27), (FIXED_THEN, 200_000.0, 0, 1015.27),
])  # fmt: skip
def test_a_sale_at_5_costs_what_ibkrs_own_comparison_says(conf, quantity, adds, expected):
    assert costs.fees_point(fees(conf)[0], quantity, 5.0, -1, adds) == pytest.approx(expected, abs=0.015)  # its items are rounded


def test_the_items_of_ibkrs_example_of_30_million_shares():
    # 1,050 + 5,400 + 25,500 + 10,000; 90,000; 6,000; 1,200; 23.49 + 7.34; 7.27
    f = fees(TIERED_THEN)[0]
    paid = costs.commission_point(f, 3e7, 5.0)
    assert paid == pytest.approx(41_950.0, rel=1e-12)
    assert costs.exchange_point(f, 3e7, 0) == pytest.approx(90_000.0, rel=1e-12)
    assert costs.exchange_point(f, 3e7, 1) == pytest.approx(-63_000.0, rel=1e-12)
    assert costs.clearing_point(f, 3e7, 5.0) == pytest.approx(6000.0, rel=1e-12)
    assert costs.sec_point(f, 3e7, 5.0, -1) == pytest.approx(1200.0, rel=1e-12)
    assert costs.pass_through_point(f, paid) == pytest.approx(23.49 + 7.34, abs=0.01)
    assert costs.taf_point(f, 3e7, -1) == 7.27


def test_the_section_31_fee_of_ibkrs_example():
    # ibkr.info of fiscal year 2016: 1,000 shares at 25.87, 0.0000218: 0.563966 on the sale, nothing on the purchase
    f = fees(CostsConf(0.005, 1.0, 0.01, sec=[RateConf("2016-02-16", 0.0000218)]))[0]
    assert costs.sec_point(f, 1000.0, 25.87, -1) == pytest.approx(0.563966, rel=1e-12)
    assert costs.sec_point(f, 1000.0, 25.87, 1) == 0.0
    assert costs.taf_point(fees(shipped("ibkr_fixed"))[0], 1000.0, 1) == 0.0


@pytest.mark.parametrize(("month", "expected"), [(0.0, 850.0 + 325.0), (1000.0, 1500 * 0.65), (20_000.0, 1500 * 0.25)])
def test_1500_futures_pay_by_tier(month, expected):
    # the way IBKR's note to the table counts them: 1,000 contracts at the first rate, 500 at the second
    f = fees(shipped("ibkr_futures", month_volume=month))[0]
    assert costs.commission_point(f, 1500.0, 4000.0) == pytest.approx(expected, rel=1e-12)


def test_a_future_of_a_hand_computed_order():
    # 10 micros, quoted 5000.00 / 5000.25: half a spread 0.125 of 5000.125; (2.50 + 16.00 + 0.20) of 10 x 5 x 5000.125
    f = fees(shipped("ibkr_micros"))[0]
    expected = 1e4 * (0.125 / 5000.125 + 18.7 / (50 * 5000.125))
    assert costs.one_way_point(f, 5000.0, 5000.25, 10.0, 1) == pytest.approx(expected, rel=1e-12)


def test_the_cap_beats_the_minimum_for_a_tiny_order():
    assert costs.commission_point(fees(shipped("ibkr_fixed"))[0], 10.0, 0.20) == pytest.approx(0.02)


def test_cost_of_a_hand_computed_order_on_each_side():
    # 99.99 / 100.01: half spread 1 bp; 500 shares pay 2.50 and 500 x 0.000072 of 50,000; a sale 500 x 0.000195 and 1.03 more
    f = fees(shipped("ibkr_fixed"))[0]
    bought = 1.0 + 1e4 * (2.5 + 0.036) / 50_000
    assert costs.one_way_point(f, 99.99, 100.01, 500.0, 1) == pytest.approx(bought, rel=1e-10)
    assert costs.one_way_point(f, 99.99, 100.01, 500.0, -1) == pytest.approx(bought + 1e4 * (0.0975 + 1.03) / 50_000, rel=1e-10)
    f.effective = 0.5
    assert costs.one_way_point(f, 99.99, 100.01, 500.0, 1) == pytest.approx(bought - 0.5, rel=1e-10)


def test_zero_spread_one_share_and_a_crossed_quote():
    assert costs.half_spread_point(100.0, 100.0, 1.0) == 0.0
    assert costs.half_spread_point(100.1, 99.9, 1.0) == pytest.approx(-10.0)
    assert math.isnan(costs.half_spread_point(math.nan, 100.0, 1.0))
    assert costs.fees_point(fees(shipped("ibkr_fixed"))[0], 1.0, 100.0, 1, 0) == pytest.approx(1.0 + 0.000072)


@pytest.mark.parametrize("name", TABLES)
@given(
    st.integers(1, 200_000_000), st.integers(1, 500_000), st.sampled_from([1, -1]), st.booleans(), st.integers(0, 10**8),
    st.sampled_from(["2024-06-01", "2025-06-01", "2026-04-03", "2026-04-04", "2030-01-01", ""]),
)  # fmt: skip
def test_each_term_and_their_sum_equal_the_definition(name, quantity, cents, side, adds, month, as_of):
    conf, quantity, price = shipped(name, as_of=as_of, month_volume=float(month)), float(quantity), cents / 100
    f, adds = fees(conf)[0], int(adds)
    expected = naive.fee_terms(conf, quantity, price, side, adds)
    paid = costs.commission_point(f, quantity, price)
    got = {
        "commission": paid, "clearing": costs.clearing_point(f, quantity, price), "exchange": costs.exchange_point(f, quantity, adds),
        "pass_through": costs.pass_through_point(f, paid), "regulatory": costs.regulatory_point(f, quantity),
        "taf": costs.taf_point(f, quantity, side), "sec": costs.sec_point(f, quantity, price, side),
    }  # fmt: skip
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)
    total = 0.0
    for term in got.values():
        total += term
    assert costs.fees_point(f, quantity, price, side, adds) == total  # bit for bit, in the order they stand
    assert costs.one_way_point(f, price, price + 0.01, quantity, side) == pytest.approx(
        naive.one_way(conf, price, price + 0.01, quantity, side), rel=1e-9
    )


def test_the_rates_follow_the_date():
    days = ["2024-05-22", "2025-05-13", "2025-05-14", "2026-04-03", "2026-04-04"]
    assert [fees(shipped("ibkr_fixed", as_of=d))["sec"][0] for d in days] == [27.8e-6, 27.8e-6, 0.0, 0.0, 20.6e-6]
    assert [fees(shipped("ibkr_fixed", as_of=d))["taf_most"][0] for d in ("2025-12-31", "2026-01-01", "2026-12-31")] == [8.3, 9.79, 9.79]


FIX = " Correct it in conf/costs or on the command line."


@pytest.mark.parametrize(("other", "text"), [
    ({"as_of": "2020-01-01"}, "costs.as_of is 2020-01-01 and costs.regulatory begins on 2024-05-22: expected a rate of that day."),
    ({"as_of": "tomorrow"}, "costs.as_of is 'tomorrow': expected a date like 2026-04-04."),
    ({"sec": [RateConf("2026-01-01", 0.0), RateConf("2025-01-01", 0.0)]}, "costs.sec has 2025-01-01 after 2026-01-01: expected dates in order."),
    ({"tiers": [TierConf(5.0, 0.1), TierConf(5.0, 0.1)]}, "costs.tiers begin at [5.0, 5.0]: expected at most 4, each above the one before."),
    ({"clearing": -1.0}, "costs.clearing is -1.0: expected zero or more."),
    ({"taf": [RateConf("2024-01-01", math.nan)]}, "costs.taf.2024-01-01.rate is nan: expected zero or more."),
    ({"remove": math.nan}, "costs.remove is nan: expected a number."),
    ({"multiplier": 0.0}, "costs.multiplier is 0.0: expected a positive number."),
    ({"usual_value": 0.0}, "costs.usual_value is 0.0: expected a positive number."),
    ({"month_volume": math.inf}, "costs.month_volume is inf: expected a number."),
    ({"adv": 0.0}, "costs.impact_eta is 0.67 and a daily volume is 0: expected shares in costs.adv."),
])  # fmt: skip
def test_a_table_that_cannot_be_is_refused(other, text):
    with pytest.raises(ConfigError) as e:
        fees(shipped("ibkr_fixed", **other))
    assert str(e.value) == text + FIX


def test_a_symbol_has_its_own_daily_volume():
    conf = shipped("ibkr_fixed", adv_of={"B": 7.0})
    assert volumes(conf, ["A", "B"]).tolist() == [5e6, 7.0]
    with pytest.raises(ConfigError, match=r"^costs.adv_of has 'B', which is not in the universe\."):
        volumes(conf, ["A"])


def test_impact_of_a_hand_computed_order():
    # 1 % of the day's volume moves the price by a tenth of eta x 150 bp
    assert impact.impact_point(1e4, 1e6, 150.0, 0.67) == pytest.approx(10.05, rel=1e-12)
    assert impact.sigma_day_point(10.0, 234.0) == pytest.approx(100.0, rel=1e-12)


@pytest.mark.parametrize(("args", "expected"), [
    ((0.0, 1e6, 150.0, 1.0), 0.0), ((100.0, 0.0, 150.0, 0.0), 0.0), ((100.0, 0.0, 150.0, 1.0), math.inf), ((100.0, math.nan, 150.0, 1.0), math.inf),
    ((100.0, 1e6, 0.0, 1.0), 0.0),
])  # fmt: skip
def test_impact_at_its_edges(args, expected):
    assert impact.impact_point(*args) == expected


@given(st.floats(1, 1e6), st.floats(1e3, 1e9), st.floats(0, 1000), st.floats(0.1, 2))
def test_impact_is_its_definition_and_grows_with_the_root(quantity, adv, sigma_day, eta):
    got = impact.impact_point(quantity, adv, sigma_day, eta)
    assert got == pytest.approx(naive.impact(quantity, adv, sigma_day, eta), rel=1e-12)
    assert impact.impact_point(4 * quantity, adv, sigma_day, eta) == pytest.approx(2 * got, rel=1e-12)
    assert np.isfinite(got)


@pytest.mark.parametrize("name", TABLES)
@given(quantity=st.integers(1, 100_000), cents=st.integers(1, 100_000), spread=st.integers(0, 50))
def test_a_round_trip_is_a_purchase_and_a_sale(name, quantity, cents, spread):
    conf = shipped(name, as_of="2026-05-01")
    bid, ask = cents / 100, (cents + spread) / 100
    expected = naive.round_trip(conf, bid, ask, quantity)
    assert costs.round_trip_point(fees(conf)[0], bid, ask, float(quantity)) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_a_round_trip_of_a_hand_computed_order():
    # 200 shares at 100 with a spread of 0.02: 2 bp; 1.00 and 0.0144 each way, of the sale 0.039 to FINRA and 0.412 to the SEC: 2.4798 of 20,000
    conf = shipped("ibkr_fixed", as_of="2026-05-01")
    mid, spread = np.array([100.0, 100.0, math.nan, 100.0]), np.array([0.02, 0.0, 0.02, -0.02])
    np.testing.assert_allclose(round_trips(conf, mid, spread), [2.0 + 1.2399, 1.2399, math.nan, math.nan], rtol=1e-9)
