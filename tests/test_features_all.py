"""Properties that every registered family must have, built-in or not: cuts, empty batches, missing values, repeated times, order of the
symbols, snapshots. All bit for bit."""

import io

import feature_ticks as make
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick

from tickarrow.configs.features import BarsConf, CrossConf, FamilyConf, FeaturesConf
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.features import Features, features_table
from tickarrow.pipeline.features_registry import BUILT_IN, all_columns, choose
from tickarrow.pipeline.schemas import DEPTH
from tickarrow.pipeline.universe import Universe

SECOND = 1_000_000_000
RULES = {
    "time": BarsConf("time", 2.0), "ticks": BarsConf("ticks", 3.0), "volume": BarsConf("volume", 700.0), "dollar": BarsConf("dollar", 60_000.0),
    "mid": BarsConf("time", 2.0, "mid"),
}  # fmt: skip


def conf(rule="time", throttle_ns=0, **cross):
    return FeaturesConf([FamilyConf(f.name) for f in BUILT_IN], throttle_ns, RULES[rule], CrossConf(**cross))


def stage(c, symbols, depth=None):
    return Features(c, Universe.of([f"S{i}" for i in range(symbols)], make.TICK), features_table(c, capacity=4096), depth)


def run(running, batches):
    """Rows as (seq, ts, symbol, bytes of x)."""
    out = []
    for b in batches:
        rows = running.step(b)
        out += [(int(rows.seq[i]), int(rows.ts[i]), int(rows.symbol[i]), rows.x[i].tobytes()) for i in range(rows.lo, rows.hi)]
    return out


def depth_rows(ticks, symbols=2, seed=3):
    """Changes of books between the ticks: (rows of TICKS before, ts, symbol, flags, position, operation, side, price, size)."""
    rng = np.random.default_rng(seed)
    out, levels = [], np.zeros((symbols, 2), int)
    for i, t in enumerate(ticks):
        for _ in range(rng.integers(0, 3)):
            symbol, side = int(rng.integers(symbols)), int(rng.integers(2))
            n = levels[symbol, side]
            operation = 0 if n < 6 else int(rng.choice([0, 1, 1, 1, 2])) if n < 12 else 2
            position = int(rng.integers(0, n + 1 if operation == 0 else n))
            levels[symbol, side] += (operation == 0) - (operation == 2)
            price = round(100.0 + (-1 if side == 0 else 1) * make.TICK * (position + 1), 2)
            out.append((i, t.ts, symbol, 0, position, operation, side, price, float(rng.integers(1, 9) * 100)))
    return out


def fill(table, rows):
    at = table.reserve(len(rows))
    c = table.segment.columns
    for name, values in zip(("seq", "ts", "symbol", "flags", "position", "operation", "side", "price", "size"), zip(*rows)):
        c[name][at : at + len(rows)] = values
    table.commit(len(rows))


def stepped(c, ticks, size, symbols=2, changes=()):
    """Rows of the stage when ticks, and the changes of the books before them, come `size` at a time."""
    depth = Table(DEPTH, capacity=4096)
    running, out = stage(c, symbols, depth), []
    for piece in make.cuts(make.tick_table(ticks), size):
        part = [r for r in changes if piece.lo <= r[0] < piece.hi]
        if part:
            fill(depth, part)
        out += run(running, [piece])
    return out


@settings(max_examples=25)
@given(make.streams(), st.integers(1, 9), st.sampled_from(sorted(RULES)), st.sampled_from([0, 250_000_000]))
def test_the_bits_do_not_depend_on_the_cut(ticks, size, rule, throttle_ns):
    changes = depth_rows(ticks)
    assert stepped(conf(rule, throttle_ns), ticks, 10_000, changes=changes) == stepped(conf(rule, throttle_ns), ticks, size, changes=changes)


def test_a_long_stream_has_equal_bits_one_by_one_and_in_blocks():
    ticks = make.stream(2500, symbols=5, mean_gap_s=0.3)
    one = stepped(conf(), ticks, 1, 5, depth_rows(ticks, 5))
    assert one == stepped(conf(), ticks, 400, 5, depth_rows(ticks, 5))
    assert len(one) > 1000


def test_the_depth_table_may_begin_a_new_segment_at_any_row():
    ticks = make.stream(300)
    changes = depth_rows(ticks)
    whole = stepped(conf(), ticks, 100, changes=changes)
    depth = Table(DEPTH, capacity=40, keep=True)
    running, out = stage(conf(), 2, depth), []
    for piece in make.cuts(make.tick_table(ticks), 7):  # 0 to 14 changes come with it
        for row in (r for r in changes if piece.lo <= r[0] < piece.hi):
            fill(depth, [row])
        out += run(running, [piece])
    assert len(depth.closed) > 3
    assert out == whole


def test_an_empty_batch_changes_nothing():
    running, batch = stage(conf(), 2), make.tick_table(make.stream(300))
    running.step(Batch(batch.segment, 0, 200))
    before = {name: contents(array) for name, array in running.snapshot().items()}
    for at in (0, 200, batch.segment.capacity):
        assert len(running.step(Batch(batch.segment, at, at))) == 0
    assert {name: contents(array) for name, array in running.snapshot().items()} == before


def contents(array):
    """Bytes of every field; the padding between fields means nothing."""
    return array.tobytes() if array.dtype.names is None else {name: contents(array[name]) for name in array.dtype.names}


@settings(max_examples=15)
@given(make.streams(), st.integers(0, 40), st.sampled_from(sorted(RULES)))
def test_a_restored_stage_goes_on_like_one_that_never_stopped(ticks, at, rule):
    batch = make.tick_table(ticks)
    at = min(at, len(batch))
    head, tail = Batch(batch.segment, 0, at), Batch(batch.segment, at, batch.hi)
    first, second = stage(conf(rule), 2), stage(conf(rule), 2)
    run(first, [head])
    second.restore({name: through_a_file(array) for name, array in first.snapshot().items()})
    assert run(first, [tail]) == run(second, [tail])


def through_a_file(array):
    """As a session keeps it: the record type is lost."""
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    return np.load(file)


@settings(max_examples=15)
@given(make.streams(symbols=3), st.permutations(range(3)))
def test_the_order_of_the_symbols_changes_no_bit(ticks, order):
    renamed = [t._replace(symbol=order[t.symbol]) for t in ticks]
    sectors = {"S0": "a", "S1": "b", "S2": "a"}
    moved = {f"S{order[i]}": sectors[f"S{i}"] for i in range(3)}
    one = stepped(conf(sectors=sectors, index="S1"), ticks, 100, 3)
    other = stepped(conf(sectors=moved, index=f"S{order[1]}"), renamed, 100, 3)
    assert [(seq, ts, order[symbol], x) for seq, ts, symbol, x in one] == other


def test_columns_are_missing_and_never_infinite_where_there_is_nothing():
    names = [column.name for c in choose(conf()) for column in c.columns]
    of_time = ("season", "quality", "intensity")  # these know something of a row without a quote: its time, its flags, that it came
    known = {n for f in BUILT_IN if f.name in of_time for n in (c.name for c in f.columns(f.tau_s))}
    nothing = [Tick(make.START + i * SECOND, 0, QUOTE, *([make.NAN] * 6)) for i in range(3)]
    (row,) = stepped(conf(), nothing, 10)
    x = np.frombuffer(row[3], np.float32)
    assert {n for n, v in zip(names, x) if not np.isnan(v)} - known == set()
    huge = [Tick(make.START + i * SECOND, 0, QUOTE, 1e-300, 1e300 * (i + 1), 1e300, 1e-300, make.NAN, make.NAN) for i in range(4)]
    huge += [Tick(make.START + i * SECOND, 0, TRADE, 1e-300, 1.0, 1e300, 1.0, 1e300, 1e300) for i in range(4, 8)]
    huge += [t._replace(ts=t.ts + 10 * SECOND, bid_size=5.0) for t in huge[:2]]
    for *_, bits in stepped(conf(), huge, 10):
        assert not np.isinf(np.frombuffer(bits, np.float32)).any()


def test_repeated_times_are_rows_like_any_other():
    ticks = [t._replace(ts=make.START) for t in make.stream(200)]
    rows = stepped(conf(), ticks, 10)
    x = np.array([np.frombuffer(r[3], np.float32) for r in rows])
    assert len(rows) > 50
    assert not np.isinf(x).any()
    back = [t._replace(ts=t.ts - 7 * SECOND * (i % 3)) for i, t in enumerate(make.stream(200))]
    assert stepped(conf(), back, 1) == stepped(conf(), back, 50)


def test_every_column_is_described():
    for f in BUILT_IN:
        for column in all_columns(f, f.tau_s):
            assert column.unit, column.name
            assert column.formula, column.name
            assert column.verifier, column.name
            assert column.feed in ("any", "trades", "every trade", "depth"), column.name
    names = [column.name for f in BUILT_IN for column in all_columns(f, f.tau_s)]
    assert len(names) == len(set(names))
