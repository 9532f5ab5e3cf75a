from dataclasses import replace
from decimal import Decimal

import mpmath
import naive_market as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.jit import market as kernels
from tickarrow.jit import market_state, market_tables
from tickarrow.pipeline import market, market_classes
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.market import Market
from tickarrow.pipeline.schemas import Kind, column_digest
from tickarrow.pipeline.universe import Universe

SECOND = 10**9
START = 1_767_623_400 * SECOND
CLASSES = ["large", "small", "etf"]
ALL_CLASSES = list(market_classes.CLASSES)
GOLDEN = "c214cc0b06783b375690f56e31f661ec"  # A to F, one of each class, seed 1

# uint64 wraps by design; NumPy's scalars say so when the JIT is off.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")


def generate(universe, seconds, seed=1, opens=START, **how):
    """Columns of the first seconds of each session."""
    m = Market(seed, universe, opens, day_ns=seconds * SECOND, **how)
    parts = []
    while not m.done:
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
        got.append(int(market_state.mix_point(np.uint64(state))))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert got == [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


@pytest.mark.pure
def test_draw_gives_the_published_xoshiro256pp_numbers():
    # State 1, 2, 3, 4: the vector that the rand_xoshiro crate took from the reference C code.
    s = np.zeros(1, market_state.SYMBOL_STATE)
    for i in range(4):
        s[0][f"random{i}"] = i + 1
    got = [int(market_state.draw_point(s[0])) for _ in range(6)]
    assert got == [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205, 9973669472204895162]


@given(st.integers(0, 2**64 - 1))
@settings(max_examples=30)
@pytest.mark.pure
def test_random_numbers_equal_their_twins(x):
    twin = naive.splitmix(x)
    assert int(market_state.mix_point(np.uint64(x))) == market_classes.mix(x) == next(twin)
    assert int(market_state.normal_point(np.uint64(x))) == naive.normal(x)
    s = np.zeros(1, market_state.SYMBOL_STATE)
    state = [next(twin) for _ in range(4)]
    for i, word in enumerate(state):
        s[0][f"random{i}"] = word
    stream = naive.xoshiro(state)
    assert [int(market_state.draw_point(s[0])) for _ in range(3)] == [next(stream) for _ in range(3)]


@pytest.mark.pure
def test_the_normal_has_the_stated_spread():
    # Four uniforms on 0..65535: variance 4 (65536^2 - 1) / 12.
    assert round((4 * (65536**2 - 1) / 12) ** 0.5) == market_classes.NORMAL_SD
    assert int(market_state.normal_point(np.uint64(0))) == -131_070
    assert int(market_state.normal_point(np.uint64(2**64 - 1))) == 131_070


# Tables


def test_tables_are_the_exact_values_rounded_down():
    with mpmath.workdps(50):
        assert int(mpmath.log(2) * 65536) == market_state.LN2
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
    got = int(market_state.power_point(y, market_tables.power()))
    assert got == pytest.approx(2 ** (y / 65536) * 65536, rel=8e-4, abs=1)


@pytest.mark.pure
def test_decay_in_small_steps_is_decay_in_one():
    # The carried rest: 1,000 steps of 1/1000 halving are one halving.
    power, x, rest = market_tables.power(), 1 << 30, 0
    for _ in range(1000):
        rest += (1 << 40) // 1000
        x = int(market_state.decay_point(x, rest, power))
        rest &= market_state.FRACTION
    assert x == pytest.approx(1 << 29, rel=0.02)


# The stream


def twin(m, seconds):
    """Rows of the twin for the symbols of a fresh market, in the columns' units; `ts` on the market's clock."""
    as_ints = [{n: a[row][n].item() for n in a.dtype.names} for a in (m.parameters, m.state) for row in range(len(a))]
    n = len(m.state)
    pauses = [[p for p in own if p[0] != market_state.NEVER] for own in m.pauses.tolist()]
    symbols = [(as_ints[k], as_ints[n + k], m.tables[k].tolist(), pauses[k]) for k in range(n)]
    hub = {name: m.hub_parameters[0][name].item() for name in m.hub_parameters.dtype.names}
    parents, _, shock, exponential, power, day = (t.tolist() for t in m._shared)
    spans = [(23_400 * d, 23_400 * d + seconds) for d in range(len(m.opens))]
    return naive.market(hub, shock, symbols, parents, exponential, power, day, spans)


def ticks(prices, tick):
    return [None if np.isnan(p) else round(p / tick) for p in prices]


def check(expected, got, tick=0.01):
    """The columns against the rows of the twin; `expected` times and those of `got` count from the same zero."""
    assert [tuple(r[:3]) for r in expected] == [
        (t, k, naive.NONE if kind == Kind.QUOTE and missing else kind)
        for t, k, kind, missing in zip((got["ts"] - START).tolist(), got["symbol"].tolist(), got["kind"].tolist(), np.isnan(got["bid"]).tolist())
    ]
    quote = ~np.isnan(got["bid"])
    for column, at in (("bid", 3), ("ask", 4)):
        assert [r[at] for r in expected if r[2] == naive.QUOTE] == ticks(got[column][quote], tick)
    for column, at in (("bid_size", 5), ("ask_size", 6)):
        assert [r[at] for r in expected if r[2] == naive.QUOTE] == got[column][quote].tolist()
    trade = got["kind"] == Kind.TRADE
    assert [r[7] for r in expected if r[2] == naive.TRADE] == ticks(got["price"][trade], tick)
    assert [r[8] for r in expected if r[2] == naive.TRADE] == got["size"][trade].tolist()


@pytest.mark.pure
@pytest.mark.parametrize("seed", [1, 2, 2**64 - 1])
def test_the_market_equals_its_twin(seed):
    universe = Universe.of("ABC", 0.01, CLASSES)
    check(twin(Market(seed, universe, START), 3), generate(universe, 3, seed, block_ns=SECOND))


@pytest.mark.parametrize("name", ALL_CLASSES)
def test_a_class_equals_its_twin_through_shocks_and_depletions(name):
    universe = Universe.of(["AA", "BB"], 0.01, [name])
    assert sum(r["shock"] > 0 for r in naive_hub(5, 60).values()) >= 3
    check(twin(Market(5, universe, START), 60), generate(universe, 60, 5))


def test_halts_closes_and_nights_equal_their_twin():
    # Two days that are cut short, then the end of a whole one: its last minute comes after 23,340 s that the twin takes too long for.
    universe = Universe.of(["AA", "BB", "CC"], 0.01, ["etf", "book", "fx"])
    halts = [(0, 10 * SECOND, 14 * SECOND), (1, 5 * SECOND, 6 * SECOND), (1, (23_400 + 8) * SECOND, (23_400 + 12) * SECOND)]
    opens = [START, START + 86_400 * SECOND]
    got = generate(universe, 20, 3, opens, halts=halts)
    expected = twin(Market(3, universe, opens, day_ns=20 * SECOND, halts=halts), 20)
    night = (86_400 - 23_400) * SECOND
    check([(r[0] + night if r[0] >= 23_400 * SECOND else r[0], *r[1:]) for r in expected], got)
    assert sum(r[2] == naive.NONE for r in expected) == 3


@pytest.mark.slow
def test_a_whole_session_equals_its_twin():
    universe = Universe.of(["A"], 0.01, ["small"])
    check(twin(Market(2, universe, START), 23_400), generate(universe, 23_400, 2))


def naive_hub(seed, seconds):
    p = market_classes.hub_parameters(seed)
    shock = market_tables.quantiles(market_classes.SHOCK_SIZE).tolist()
    return naive.hub({name: p[0][name].item() for name in p.dtype.names}, shock, range(seconds))


def test_a_hand_computed_opening():
    # First a quote four spreads wide with one lot a side, then, below three seconds later, the auction, and with it the quote:
    # large has a spread of 1 tick, 140,000 shares or what its class says; small 4 ticks and 3 lots of its 349 shares.
    got = generate(Universe.of(["AAA", "BBB"], 0.01, ["large", "small"]), 4)
    for row, name in enumerate(("large", "small")):
        c, mine = market_classes.CLASSES[name], of_symbol(got, row)
        assert mine["ts"][0] == START
        assert mine["mask"][0] == 15
        assert mine["bid_size"][0] == mine["ask_size"][0] == 100.0
        assert mine["ask"][0] - mine["bid"][0] == pytest.approx(4 * c.spread * 0.01)
        assert mine["kind"][1] == Kind.TRADE
        assert c.auction / 2 - 100 <= mine["size"][1] < 1.5 * c.auction
        assert mine["ts"][1] == mine["ts"][2] < START + 3 * SECOND
        assert mine["bid_size"][2] == mine["ask_size"][2] == c.queue // 100 * 100
        assert mine["ask"][2] - mine["bid"][2] == pytest.approx(c.spread * 0.01)
        assert mine["bid"][2] <= mine["price"][1] <= mine["ask"][2]


def test_a_session_ends_with_an_auction():
    got = generate(Universe.of(["AAA"], 0.01, ["small"]), 23_400)
    assert got["kind"][-1] == Kind.TRADE
    assert got["size"][-1] > 2 * market_classes.CLASSES["small"].auction - 100
    assert got["ts"][-1] - START >= 23_399 * SECOND
    assert got["ts"][-2] - START < 23_399 * SECOND


def test_a_halt_is_silent_and_ends_with_an_auction():
    universe = Universe.of(["AAA", "BBB"], 0.01, ["etf"])
    got = generate(universe, 40, halts=[(1, 10 * SECOND, 25 * SECOND)])
    halted, free = of_symbol(got, 1), of_symbol(generate(universe, 40), 0)
    assert same(of_symbol(got, 0), free)
    at = int(np.flatnonzero(np.isnan(halted["bid"]) & (halted["kind"] == Kind.QUOTE))[0])
    assert halted["ts"][at] == START + 10 * SECOND
    assert halted["mask"][at] == 15
    assert np.isnan([halted[c][at] for c in ("bid", "bid_size", "ask", "ask_size")]).all()
    assert 25 * SECOND <= halted["ts"][at + 1] - START < 25.3 * SECOND
    assert halted["kind"][at + 1] == Kind.TRADE
    assert halted["size"][at + 1] > 100_000


def test_the_price_moves_overnight():
    # A night is 256 times a step of 0.1 s: 256 / sqrt(600) = 10.45 standard deviations of a minute. The market's part is common to all.
    universe = Universe.of([f"S{i}" for i in range(300)], 0.01, ["small"])
    got = generate(universe, 5, 1, [START, START + 86_400 * SECOND])
    second_day = got["ts"] >= START + 86_400 * SECOND
    moves = []
    for row in range(300):
        before, after = (of_symbol({k: v[day] for k, v in got.items()}, row) for day in (~second_day, second_day))
        quote = before["kind"] == Kind.QUOTE
        moves.append((after["bid"][0] + after["ask"][0] - before["bid"][quote][-1] - before["ask"][quote][-1]) * 50)
    c = market_classes.CLASSES["small"]
    assert np.std(moves) == pytest.approx(c.value_sd * 256 / 600**0.5 * (1 - c.beta[0] ** 2) ** 0.5, rel=0.2)


@given(st.lists(st.sampled_from([1, 2, 3, 7]), min_size=1, max_size=3))
@settings(max_examples=5)
@pytest.mark.pure
def test_the_block_length_changes_nothing(steps):
    universe = Universe.of("AB", 0.01, ["small", "large"])
    whole = generate(universe, 3, block_ns=3 * SECOND)
    for k in steps:
        assert same(whole, generate(universe, 3, block_ns=k * SECOND))


def test_the_block_length_changes_nothing_in_a_busy_minute():
    universe = Universe.of("ABCDEF", 0.01, CLASSES)
    assert same(generate(universe, 60, block_ns=60 * SECOND), generate(universe, 60, block_ns=SECOND))


def test_a_block_that_outgrows_its_memory_is_done_again(monkeypatch):
    universe = Universe.of("ABCDEF", 0.01, CLASSES)
    usual = generate(universe, 30)
    monkeypatch.setattr(market, "FIRST_CAPACITY", 512)  # rows that one event may need, and a few
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
    got = generate(Universe.of("ABCDEF", 0.01, ALL_CLASSES), 60)
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


def test_sizes_and_prices_are_positive_and_quotes_hardly_ever_crossed(session):
    quote = session["kind"] == Kind.QUOTE
    for column in ("bid", "bid_size", "ask", "ask_size"):
        assert (session[column][quote] > 0).all()
        assert np.isnan(session[column][~quote]).all()
    for column in ("price", "size"):
        assert (session[column][~quote] > 0).all()
        assert np.isnan(session[column][quote]).all()
    crossed = session["bid"][quote] > session["ask"][quote]
    small = session["symbol"][quote] == 1
    assert not crossed[~small].any()
    assert 0 < crossed[small].mean() < 0.002  # IBM: 0.0006 to 0.0009
    assert (session["mask"] == np.where(quote, 15, 0)).all()


# Events/s, trades per quote, mean spread in ticks (by time): reference/market-generator.md section 5; the etf's rate is a guess there.
FACTS = {"large": (15.6, 0.36, 1.0), "small": (3.5, 0.41, 4.7), "etf": (48.0, 0.42, 1.0)}
LOCKED = {"large": (0.01, 0.08), "small": (0.002, 0.015), "etf": (0.001, 0.10)}  # share of quotes: BAC 0.018 to 0.035, IBM 0.005 to 0.008


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
    wild = replace(market_classes.CLASSES["small"], price=3, value_sd=20.0, outside=0.5, both=0.1)
    monkeypatch.setitem(market_classes.CLASSES, "small", wild)
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
    assert str(e.value) == ("universe.classes: the generated market has no class 'giant' (symbol A). Choose from large, small, book, etf, future, fx.")


@pytest.mark.pure
@pytest.mark.parametrize("name", ["HUB_PARAMETERS", "HUB_STATE", "HUB_STEP", "HUB_SECOND", "PARAMETERS", "SYMBOL_STATE", "PAUSE", "EVENT"])
def test_no_field_hides_behind_an_attribute_of_numpys_records(name):
    # `record.size` is NumPy's own with the JIT off, the field with it on.
    assert not [n for n in getattr(kernels, name).names if hasattr(np.void, n)]
