from dataclasses import replace
from decimal import Decimal

import mpmath
import naive_market as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.jit import market as kernels
from tickarrow.jit import market_symbol, market_tables
from tickarrow.pipeline import market
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.market import Market
from tickarrow.pipeline.schemas import Kind, column_digest
from tickarrow.pipeline.universe import Universe

SECOND = 10**9
START = 1_767_623_400 * SECOND
CLASSES = ["large", "small", "etf"]
GOLDEN = "16bc25c9931c6825a2acd40b9ecfd396"  # AAA large, BBB small, CCC etf, seed 1

# uint64 wraps by design; NumPy's scalars say so when the JIT is off.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")


def generate(universe, seconds, seed=1, **how):
    """Columns of the first seconds of a session."""
    m = Market(seed, universe, START, **how)
    parts = []
    while m.time < seconds * SECOND:
        n = m.step()
        parts.append({name: column[:n].copy() for name, column in m.columns.items()})
    return {name: np.concatenate([p[name] for p in parts]) for name in m.columns}


def same(a, b):
    return all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a)


def of_symbol(columns, row):
    mine = columns["symbol"] == row
    return {name: column[mine] for name, column in columns.items() if name != "symbol"}


# Random numbers


@pytest.mark.pure
def test_mix_gives_the_published_splitmix64_numbers():
    # First outputs for seed 1234567, as in the reference C code's test values.
    state, got = 1234567, []
    for _ in range(5):
        got.append(int(market_symbol.mix_point(np.uint64(state))))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert got == [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


@pytest.mark.pure
def test_draw_gives_the_published_xoshiro256pp_numbers():
    # State 1, 2, 3, 4: the vector that the rand_xoshiro crate took from the reference C code.
    s = np.zeros(1, market_symbol.SYMBOL_STATE)
    for i in range(4):
        s[0][f"random{i}"] = i + 1
    got = [int(market_symbol.draw_point(s[0])) for _ in range(6)]
    assert got == [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205, 9973669472204895162]


@given(st.integers(0, 2**64 - 1))
@settings(max_examples=30)
@pytest.mark.pure
def test_random_numbers_equal_their_twins(x):
    twin = naive.splitmix(x)
    assert int(market_symbol.mix_point(np.uint64(x))) == market.mix(x) == next(twin)
    assert int(market_symbol.normal_point(np.uint64(x))) == naive.normal(x)
    s = np.zeros(1, market_symbol.SYMBOL_STATE)
    state = [next(twin) for _ in range(4)]
    for i, word in enumerate(state):
        s[0][f"random{i}"] = word
    stream = naive.xoshiro(state)
    assert [int(market_symbol.draw_point(s[0])) for _ in range(3)] == [next(stream) for _ in range(3)]


@pytest.mark.pure
def test_the_normal_has_the_stated_spread():
    # Four uniforms on 0..65535: variance 4 (65536^2 - 1) / 12.
    assert round((4 * (65536**2 - 1) / 12) ** 0.5) == market.NORMAL_SD
    assert int(market_symbol.normal_point(np.uint64(0))) == -131_070
    assert int(market_symbol.normal_point(np.uint64(2**64 - 1))) == 131_070


# Tables


def test_tables_are_the_exact_values_rounded_down():
    with mpmath.workdps(50):
        assert int(mpmath.log(2) * 65536) == market_symbol.LN2
        exponential = [int(-mpmath.log(1 - (i + mpmath.mpf(1) / 2) / 2048) * 65536) for i in range(1024)]
        power = [int(mpmath.power(2, -mpmath.mpf(i) / 1024) * 65536) for i in range(1024)]
        quantiles = [int(mpmath.power(256, (i + mpmath.mpf(1) / 2) / 256) * 16) for i in range(256)]
    assert market_tables.exponential().tolist() == exponential
    assert market_tables.power().tolist() == power
    assert market_tables.quantiles([(0, 1), (1, 256)]).tolist() == quantiles


def test_quantiles_are_log_linear_between_their_points():
    # Middle of part 127: u = 127.5 / 256, just below one half, where the value is 4.
    table = market_tables.quantiles([(0, 1), (0.5, 4), (1, 4.0001)])
    assert table[127] == int(16 * 4 ** (127.5 / 128))
    assert table[128:].tolist() == [64] * 128


@given(st.integers(-14 * 65536, 14 * 65536))
@pytest.mark.pure
def test_power_is_two_to_the_y(y):
    got = int(market_symbol.power_point(y, market_tables.power()))
    assert got == pytest.approx(2 ** (y / 65536) * 65536, rel=8e-4, abs=1)


@pytest.mark.pure
def test_decay_in_small_steps_is_decay_in_one():
    # The carried rest: 1,000 steps of 1/1000 halving are one halving.
    power, x, rest = market_tables.power(), 1 << 30, 0
    for _ in range(1000):
        rest += (1 << 40) // 1000
        x = int(market_symbol.decay_point(x, rest, power))
        rest &= market_symbol.FRACTION
    assert x == pytest.approx(1 << 29, rel=0.02)


# The stream


def twin(m, seconds):
    """Rows of the twin for the symbols of a fresh market, in the columns' units."""
    as_ints = [{n: a[row][n].item() for n in a.dtype.names} for a in (m.parameters, m.state) for row in range(len(a))]
    n = len(m.state)
    symbols = [(as_ints[k], as_ints[n + k], m.tables[k].tolist()) for k in range(n)]
    hub = {name: m.hub_parameters[0][name].item() for name in m.hub_parameters.dtype.names}
    shock, exponential, power, day = (t.tolist() for t in m._shared)
    return naive.market(hub, shock, symbols, exponential, power, day, seconds)


def ticks(prices, tick):
    return [None if np.isnan(p) else round(p / tick) for p in prices]


@pytest.mark.pure
@pytest.mark.parametrize("seed", [1, 2, 2**64 - 1])
def test_the_market_equals_its_twin(seed):
    universe = Universe.of("ABC", 0.01, CLASSES)
    m = Market(seed, universe, START, block_ns=SECOND)
    expected = twin(m, 3)
    got = generate(universe, 3, seed, block_ns=SECOND)
    assert [tuple(r[:3]) for r in expected] == list(zip((got["ts"] - START).tolist(), got["symbol"].tolist(), got["kind"].tolist()))
    quote = got["kind"] == Kind.QUOTE
    for column, at in (("bid", 3), ("ask", 4)):
        assert [r[at] for r in expected if r[2] == 0] == ticks(got[column][quote], 0.01)
    for column, at in (("bid_size", 5), ("ask_size", 6)):
        assert [r[at] for r in expected if r[2] == 0] == got[column][quote].tolist()
    assert [r[7] for r in expected if r[2] == 1] == ticks(got["price"][~quote], 0.01)
    assert [r[8] for r in expected if r[2] == 1] == got["size"][~quote].tolist()


def test_the_market_equals_its_twin_through_shocks_and_depletions():
    universe = Universe.of(["AA", "BB", "CC", "DD"], 0.01, CLASSES)
    expected = twin(Market(5, universe, START), 60)
    got = generate(universe, 60, 5)
    assert sum(r["shock"] > 0 for r in naive_hub(5, 60)) >= 3
    assert [r[0] for r in expected] == (got["ts"] - START).tolist()
    assert [r[1] for r in expected] == got["symbol"].tolist()
    assert [r[3] for r in expected if r[2] == 0] == ticks(got["bid"][got["kind"] == Kind.QUOTE], 0.01)


def naive_hub(seed, seconds):
    p = market.hub_parameters(seed)
    shock = market_tables.quantiles(market.SHOCK_SIZE).tolist()
    return naive.hub({name: p[0][name].item() for name in p.dtype.names}, shock, 10 * seconds)


def test_a_hand_computed_opening():
    # Each symbol opens at the start with a one-tick spread and its class's queue in whole lots: 349 shares are 3 lots.
    got = generate(Universe.of(["AAA", "BBB"], 0.01, ["large", "small"]), 1)
    assert got["ts"][:2].tolist() == [START, START]
    assert got["symbol"][:2].tolist() == [0, 1]
    assert got["mask"][:2].tolist() == [15, 15]
    assert got["bid_size"][:2].tolist() == got["ask_size"][:2].tolist() == [140_000.0, 300.0]
    np.testing.assert_allclose(got["ask"][:2] - got["bid"][:2], 0.01)


@given(st.lists(st.sampled_from([1, 2, 5, 10, 30]), min_size=1, max_size=3))
@settings(max_examples=5)
@pytest.mark.pure
def test_the_block_length_changes_nothing(steps):
    universe = Universe.of("AB", 0.01, ["small", "large"])
    whole = generate(universe, 3, block_ns=3 * SECOND)
    for k in steps:
        assert same(whole, generate(universe, 3, block_ns=k * kernels.GRID))


def test_the_block_length_changes_nothing_in_a_busy_minute():
    universe = Universe.of("ABCDEF", 0.01, CLASSES)
    assert same(generate(universe, 60, block_ns=60 * SECOND), generate(universe, 60, block_ns=SECOND // 2))


def test_a_block_that_outgrows_its_memory_is_done_again(monkeypatch):
    universe = Universe.of("ABCDEF", 0.01, CLASSES)
    usual = generate(universe, 30)
    monkeypatch.setattr(market, "FIRST_CAPACITY", 64)
    assert same(usual, generate(universe, 30))


def test_other_symbols_change_no_row_of_a_symbol():
    few = generate(Universe.of("AB", 0.01, ["small", "etf"]), 60)
    many = generate(Universe.of("XAYB", 0.01, ["large", "small", "small", "etf"]), 60)
    assert same(of_symbol(few, 0), of_symbol(many, 1))
    assert same(of_symbol(few, 1), of_symbol(many, 3))


def test_the_seed_the_name_and_the_class_make_the_stream():
    def one(name, kind, seed):
        return of_symbol(generate(Universe.of([name], 0.01, [kind]), 60, seed), 0)["ts"].tolist()

    streams = [one("A", "small", 1), one("A", "small", 2), one("B", "small", 1), one("A", "large", 1)]
    assert len({tuple(s) for s in streams}) == 4
    assert one("A", "small", 1) == streams[0]


def test_rows_of_the_first_minute_are_pinned():
    # Beside the tests of definition: the same bytes in every process and on every machine. Change it only with the market.
    got = generate(Universe.of(["AAA", "BBB", "CCC"], 0.01, CLASSES), 60)
    assert column_digest(list(got.values())) == GOLDEN


# Properties of a session


@pytest.fixture(scope="module")
def session():
    """One whole session of one symbol a class."""
    return generate(Universe.of(["Xlarge", "Xsmall", "Xetf"], 0.01, CLASSES), 23_400)


def test_time_never_goes_back(session):
    assert (np.diff(session["ts"]) >= 0).all()
    assert session["ts"][0] == START
    assert session["ts"][-1] < START + 23_400 * SECOND


def test_sizes_and_prices_are_positive_and_quotes_never_crossed(session):
    quote = session["kind"] == Kind.QUOTE
    for column in ("bid", "bid_size", "ask", "ask_size"):
        assert (session[column][quote] > 0).all()
        assert np.isnan(session[column][~quote]).all()
    for column in ("price", "size"):
        assert (session[column][~quote] > 0).all()
        assert np.isnan(session[column][quote]).all()
    assert (session["bid"][quote] <= session["ask"][quote]).all()
    assert (session["mask"] == np.where(quote, 15, 0)).all()


# Events/s, trades per quote, mean spread in ticks (by time): reference/market-generator.md section 5; the etf's rate is a guess there.
FACTS = {"large": (15.6, 0.36, 1.0), "small": (3.5, 0.41, 4.7), "etf": (48.0, 0.42, 1.0)}
LOCKED = {"large": (0.01, 0.08), "small": (0.0, 0.0), "etf": (0.01, 0.10)}  # share of quotes; 0.038 and 0.051 in the reference


@pytest.mark.parametrize(("row", "name"), list(enumerate(CLASSES)))
def test_a_class_keeps_its_measured_facts(session, row, name):
    mine = of_symbol(session, row)
    quote = mine["kind"] == Kind.QUOTE
    rate, trades, spread = FACTS[name]
    assert rate / 1.5 < len(quote) / 23_400 < rate * 1.5
    assert trades / 1.5 < (~quote).sum() / quote.sum() < trades * 1.5
    ts = mine["ts"][quote]
    held = np.diff(ts, append=START + 23_400 * SECOND)
    width = np.round((mine["ask"] - mine["bid"])[quote] * 100)
    assert spread / 1.5 < (width * held).sum() / held.sum() < spread * 1.5
    low, high = LOCKED[name]
    assert low <= (width == 0).mean() <= high


@pytest.mark.parametrize("tick", [0.01, 0.005, 0.0001, 0.25, 0.03, 1.0, 5.0])
def test_a_price_is_the_double_nearest_to_its_decimal_text(tick):
    cents = generate(Universe.of("AB", 1.0, ["small", "large"]), 20)  # tick 1: the prices are the ticks
    got = generate(Universe.of("AB", tick, ["small", "large"]), 20)
    for column in ("bid", "ask", "price"):
        given_ = ~np.isnan(got[column])
        texts = [str(Decimal(int(n)) * Decimal(str(tick))) for n in cents[column][given_]]
        assert got[column][given_].tolist() == [float(t) for t in texts]


def test_a_penny_name_stays_above_zero(monkeypatch):
    # Three ticks at the start and a value that often lies below them: the floors hold.
    wild = replace(market.CLASSES["small"], price=3, value_sd=20.0, outside=0.5, both=0.1)
    monkeypatch.setitem(market.CLASSES, "small", wild)
    universe = Universe.of("ABCD", 0.01, ["small"])
    got = generate(universe, 120)
    quote = got["kind"] == Kind.QUOTE
    assert (got["bid"][quote] == 0.01).any()
    assert (got["bid"][quote] > 0).all()
    assert (got["bid"][quote] <= got["ask"][quote]).all()
    assert (got["price"][~quote] > 0).all()
    assert [r[3] for r in twin(Market(1, universe, START), 20) if r[2] == 0] == ticks(
        got["bid"][quote & (got["ts"] < START + 20 * SECOND)], 0.01
    )


def test_an_unknown_class_names_the_known_ones():
    with pytest.raises(ConfigError) as e:
        Market(1, Universe.of("A", 0.01, ["giant"]), START)
    assert str(e.value) == ("universe.classes: the generated market has no class 'giant' (symbol A). Choose from large, small, etf.")


@pytest.mark.pure
@pytest.mark.parametrize("name", ["HUB_PARAMETERS", "HUB_STATE", "HUB_STEP", "PARAMETERS", "SYMBOL_STATE", "EVENT"])
def test_no_field_hides_behind_an_attribute_of_numpys_records(name):
    # `record.size` is NumPy's own with the JIT off, the field with it on.
    assert not [n for n in getattr(kernels, name).names if hasattr(np.void, n)]
