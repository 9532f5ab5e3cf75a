"""The look-ahead detector: the built-in columns and labels pass, planted leaks of several kinds are named with their first row."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import tickarrow
from rich.console import Console

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.pipeline import features_registry, features_user
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.features import Features, feature_columns, features_table
from tickarrow.pipeline.features_again import reading
from tickarrow.pipeline.features_check import blocks, check, first_ticks, main
from tickarrow.pipeline.features_leaks import forward, label_leaks, leaks, of_features, of_stage
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.schemas import Kind
from tickarrow.pipeline.source import open_source
from tickarrow.pipeline.universe import Universe

SECOND = 1_000_000_000
START = 1_767_623_400 * SECOND  # 2026-01-05 14:30 UTC
QUIET = Console(quiet=True)
CLEAN = Path(__file__).with_name("user_features.py")


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(features_user, "_files", {})
    monkeypatch.setattr(features_registry, "_families", dict(features_registry._families))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A file of 2,000 ticks of two symbols, one each 100 ms: a walk of the quotes, some trades."""
    rng, n = np.random.default_rng(3), 2000
    mid = 100.0 + 0.01 * np.cumsum(rng.integers(-2, 3, n))
    trade = rng.random(n) < 0.2
    nan = np.full(n, np.nan)
    table = pa.table({
        "ts_event": START + np.arange(n) * SECOND // 10, "symbol": np.array(["AAA", "BBB"])[np.arange(n) % 2], "kind": np.where(trade, "trade", "quote"),
        "price": np.where(trade, mid, nan), "size": np.where(trade, 100.0, nan),
        "bid": np.where(trade, nan, mid - 0.01), "ask": np.where(trade, nan, mid + 0.01),
        "bid_size": np.where(trade, nan, rng.integers(1, 9, n) * 100.0), "ask_size": np.where(trade, nan, rng.integers(1, 9, n) * 100.0),
    }, schema=pa.schema([("ts_event", pa.int64()), ("symbol", pa.string()), ("kind", pa.string()),
                         *((c, pa.float64()) for c in ("price", "size", "bid", "ask", "bid_size", "ask_size"))]))  # fmt: skip
    path = tmp_path_factory.mktemp("recorded") / "ticks.parquet"
    pq.write_table(table, path)
    return path


def configured(*overrides):
    return compose("features_check", list(overrides))


def market(path):
    """Universe and ticks of a file."""
    conf = configured("source=parquet", f"source.path={path}")
    source = open_source(conf.source, conf.universe)
    return source.universe, first_ticks(source, 2000)


def test_no_built_in_column_and_no_label_knows_the_future():
    found = check(configured("rows=8000", "cuts=12"), QUIET)
    assert [str(x) for x in found.leaks] == []
    assert found.columns == [c for f in features_registry.BUILT_IN for c in feature_columns(FeaturesConf([FamilyConf(f.name)]))]
    assert (found.missing, found.constant) == ([], [])  # each is warm, and is not the same all the time
    assert found.ticks > 7000
    assert found.rows > 1000
    assert len(found.labels) == 5


# --- planted: what a module around its kernels can know

USER = '''
import numpy as np
import {reader}
from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family

{facts}
S = record([("n", "i8")])


@kernel("S, EVENT, i8[:]")
def step(s, e, w):
    s.n += 1


@kernel("S, EVENT, i8[:], out f8[:], i8")
def emit(s, e, w, v, at):
    v[at] = {value}
    v[at + 1] = e.bid_size


FAMILY = Family("planted", 1, lambda tau_s: [Column("planted", "1", "?"), Column("honest", "shares", "bs")], state=S, step=step, emit=emit)
'''
NEXT = """TICKS = pq.read_table({path!r}).to_pandas()
TICKS = TICKS[TICKS.symbol == "AAA"]
BIDS = TICKS.bid.ffill().to_numpy()"""
DAY = """BID = pd.read_parquet({path!r}).bid
MEAN, DEVIATION = float(BID.mean()), float(BID.std())"""
TOTAL = """with pa.memory_map({path!r}) as f:
    TOTAL = float(np.nansum(pq.read_table(f).column("size").to_numpy()))"""
PLANTED = {
    "the next row": ("pyarrow.parquet as pq", NEXT, "BIDS[min(s.n, BIDS.size - 1)] - e.bid if e.symbol == 0 else 0.0", "emit.BIDS"),
    "the whole day's mean and deviation": ("pandas as pd", DAY, "(e.bid - MEAN) / DEVIATION", "emit.DEVIATION, leaky.emit.MEAN"),
    "the session's total": ("pyarrow as pa, pyarrow.parquet as pq", TOTAL, "e.bid_size / TOTAL", "emit.TOTAL"),
}


def user_file(folder, reader, facts, value, path=""):
    file = folder / "leaky.py"
    file.write_text(USER.format(reader=reader, facts=facts.format(path=str(path)), value=value))
    return file


@pytest.mark.parametrize("kind", PLANTED)
def test_a_file_that_reads_the_ticks_is_run_again_without_the_later_ones(kind, recorded, tmp_path):
    *text, names = PLANTED[kind]
    file = user_file(tmp_path, *text, path=recorded)
    found = check(configured(f"path={recorded}", f"features.files=[{file}]", "labels=false"), QUIET)
    assert [x.column for x in found.leaks] == ["planted"]
    (leak,) = found.leaks
    assert leak.whole != leak.other
    said = str(leak)
    assert said.startswith(f"planted is {leak.whole:.9g} at seq {leak.seq:,} ({leak.symbol}, 2026-01-05T14:3")
    assert f"with ticks.parquet ending after seq {'1,' if kind == 'the next row' else ''}" in said
    assert said.endswith(f"when leaky.py reads it: its constant leaky.{names} knows what came later.")


def test_the_leak_of_the_next_row_is_in_the_last_row_that_could_not_know_it(recorded, tmp_path):
    *text, _ = PLANTED["the next row"]
    (leak,) = check(configured(f"path={recorded}", f"features.files=[{user_file(tmp_path, *text, path=recorded)}]", "labels=false"), QUIET).leaks
    assert leak.symbol == "AAA"
    bids = pq.read_table(recorded).to_pandas().query("symbol == 'AAA'").bid.ffill().to_numpy()
    k = leak.seq // 2  # number of the symbol's tick
    assert leak.whole == np.float32(bids[k + 1] - bids[k])  # the row's own value: the change of the next bid


def test_the_command_names_the_column_and_fails(recorded, tmp_path):
    *text, _ = PLANTED["the whole day's mean and deviation"]
    user_file(tmp_path, *text, path=recorded)
    done = tickarrow("features", "check", "features.files=[leaky.py]", f"path={recorded}", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("planted is ")
    assert "honest is " not in done.stdout
    assert done.stderr.strip() == "tickarrow: features check: look-ahead in planted. The sentences above name the first row of each."


def test_a_clean_file_of_the_users_passes(recorded, capsys):
    main(configured(f"path={recorded}", f"features.files=[{CLEAN}]"))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 columns and 5 labels, ")
    assert said[0].endswith(" rows of 2,000 ticks of 2 symbols")
    assert said[-1] == "no look-ahead found"


def test_columns_that_say_nothing_are_told(recorded, tmp_path, capsys):
    file = user_file(tmp_path, "math", "", "np.nan if e.symbol < 9 else 1.0")
    main(configured(f"path={recorded}", f"features.files=[{file}]"))
    assert "missing in every row: planted\n" in capsys.readouterr().out


def test_another_file_that_is_read_is_told(recorded, tmp_path, capsys):
    (tmp_path / "scale.txt").write_text("7.0")
    file = user_file(tmp_path, "math", f"SCALE = float(open({str(tmp_path / 'scale.txt')!r}).read())", "SCALE")
    main(configured(f"path={recorded}", f"features.files=[{file}]"))
    said = capsys.readouterr().out
    assert f"not checked: {tmp_path / 'scale.txt'} is read by a file of features; what it says must have been known before" in said
    assert "the same in every row: planted\n" in said


def test_a_file_that_fails_without_the_later_ticks_is_a_leak(recorded, tmp_path):
    facts = "LAST = float(pq.read_table({path!r}).column('bid')[1999].as_py() or 0.0)"
    file = user_file(tmp_path, "pyarrow.parquet as pq", facts, "LAST", recorded)
    found = check(configured(f"path={recorded}", f"features.files=[{file}]", "labels=false"), QUIET)
    assert len(found.sentences) == 1
    assert "leaky.py fails with ticks.parquet ending after seq " in found.sentences[0]
    assert "IndexError" in found.sentences[0]
    with pytest.raises(DataError, match=r"look-ahead in a file of features"):
        main(configured(f"path={recorded}", f"features.files=[{file}]", "labels=false"))


def test_a_column_that_is_not_written_in_every_row_has_another_rows_value(recorded, tmp_path):
    """The state of such a column is the row before, of whatever symbol; a restart forgets it."""
    file = user_file(tmp_path, "math", "", "s.n\n    if s.n % 3 == 2:\n        v[at] = e.bid").read_text()
    file = file.replace("    v[at] = s.n\n    if", "    if")
    (tmp_path / "leaky.py").write_text(file.replace("    if s.n % 3 == 2:", "    if s.n % 3 < 2:"))
    found = check(configured(f"path={recorded}", f"features.files=[{tmp_path / 'leaky.py'}]", "labels=false"), QUIET)
    assert [(x.column, x.why) for x in found.leaks] == [("planted", "its state is not all in the snapshot")]


@pytest.mark.parametrize("how", ["open(F).read()", "Path(F).read_text()", "str(np.loadtxt(F))", "str(pd.read_csv(F, header=None).iloc[0, 0])",
                                 "str(pl.read_csv(F, has_header=False)[0, 0])", "str(pacsv.read_csv(F).column_names[0])"])  # fmt: skip
def test_every_usual_reader_is_given_the_other_file(how, tmp_path):
    import pandas as pd
    import polars as pl
    import pyarrow.csv as pacsv

    whole, part = tmp_path / "whole.csv", tmp_path / "part.csv"
    whole.write_text("7.5\n")
    part.write_text("2.5\n")
    names = {"F": str(whole), "np": np, "pd": pd, "pl": pl, "Path": Path, "pacsv": pacsv}
    with reading({whole: part}) as seen:
        assert float(eval(how, names)) == 2.5
    assert seen == [whole.resolve()]
    assert float(eval(how, names)) == 7.5


# --- planted: a stage that looks at its batch, or keeps something outside of its snapshot


def stage_leaks(path, stage, **options):
    universe, ticks = market(path)
    conf = FeaturesConf([FamilyConf("quote", [], ["spread_ticks", "imbalance"])], throttle_ns=0)
    run = of_stage(lambda book: stage(conf, universe, features_table(conf)))
    return leaks(run, ticks, ["spread_ticks", "imbalance"], universe.symbols, **options)[0]


class NextRow(Features):
    """Looks at the following row of the segment."""

    def step(self, ticks):
        out = super().step(ticks)
        at = out.view("seq").astype(int) - int(ticks.segment.columns["seq"][0])
        out.view("x")[:, 1] = ticks.segment.columns["bid_size"][at + 1]
        return out


class DayMean(Features):
    """Subtracts the mean of all rows of the batch."""

    def step(self, ticks):
        out = super().step(ticks)
        if len(out):
            out.view("x")[:, 1] -= out.view("x")[:, 1].mean()
        return out


class SinceBatch(Features):
    """Subtracts the first row of the batch: no future, but another value for another cut."""

    def step(self, ticks):
        out = super().step(ticks)
        out.view("x")[:, 1] -= out.view("x")[:1, 1].copy()
        return out


class Counting(Features):
    """Counts rows outside of its state."""

    rows = 0

    def step(self, ticks):
        out = super().step(ticks)
        out.view("x")[:, 1] = self.rows + np.arange(len(out))
        self.rows += len(out)
        return out


class OtherRows(Features):
    """Leaves the last due row of a batch out."""

    def step(self, ticks):
        out = super().step(ticks)
        out.hi -= len(out) > 1
        return out


@pytest.mark.parametrize(
    ("stage", "column", "how", "why"),
    [
        (Features, None, "", ""),
        (NextRow, "imbalance", " cut off", "it knows what came later"),
        (DayMean, "imbalance", " cut off", "it knows what came later"),
        (SinceBatch, "imbalance", "tick by tick", "it depends on how the stream is cut into batches"),
        (Counting, "imbalance", "after a restart at seq ", "its state is not all in the snapshot"),
        (OtherRows, "(which ticks are due)", " cut off", "it knows what came later"),
    ],
)
def test_a_stage_that_leaks_is_named_with_what_shows_it(stage, column, how, why, recorded):
    found = stage_leaks(recorded, stage)
    assert [x.column for x in found] == ([] if column is None else [column])
    if found:
        assert how in found[0].how
        assert found[0].why == why
        assert found[0].whole != found[0].other


def test_rows_at_the_cut_itself_are_compared(recorded):
    """The peek at the next row is seen in the very last row before a cut and in no other."""
    (leak,) = stage_leaks(recorded, NextRow)
    assert leak.how == f"with the ticks after seq {leak.seq:,} cut off"


def test_the_depth_that_is_made_up_reaches_the_features(recorded, monkeypatch):
    universe, ticks = market(recorded)
    seen = []

    class Depth(Features):
        def step(self, batch):
            seen.append(self._book.size)
            return super().step(batch)

    def make(book):
        stage = Depth(FeaturesConf([FamilyConf("quote")]), universe, features_table(FeaturesConf([FamilyConf("quote")])), book)
        stage._book = book
        return stage

    of_stage(make, depth=True)(ticks, [1000, 1000])
    assert 0 < seen[0] < seen[1]


# --- labels


def labelled(path, label, horizons=(SECOND, 5 * SECOND)):
    universe, ticks = market(path)
    rows = of_features(FeaturesConf([FamilyConf("quote")]), universe)(ticks, [len(ticks["ts"])])
    return label_leaks(ticks, rows, np.array(horizons, np.int64), 60 * SECOND, universe.symbols, label)


def late(ts, symbol, mid, q_ts, q_symbol, q_mid, horizon, gap):
    """Takes the mid one second behind the horizon."""
    return forward(ts, symbol, mid, q_ts, q_symbol, q_mid, horizon + SECOND, gap)


def never_missing(*args):
    """Fills what is missing at the end with zero."""
    return np.nan_to_num(forward(*args))


def backward(ts, symbol, mid, q_ts, q_symbol, q_mid, horizon, gap):
    """Measures from the first mid of all."""
    return forward(ts, symbol, np.full_like(mid, q_mid[0]), q_ts, q_symbol, q_mid, horizon, gap)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (forward, None),
        (late, "it depends on quotes behind its horizon"),
        (never_missing, "it should be missing"),
        (backward, "it depends on quotes before its row"),
    ],
)
def test_a_label_depends_on_the_quotes_within_its_horizon_and_no_others(label, why, recorded):
    found = labelled(recorded, label)
    assert [(x.column, x.why) for x in found] == ([] if why is None else [("label_1s", why), ("label_5s", why)])


# --- what a user can get wrong


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["rows=0"], "rows is 0 and cuts 24. Give at least 1 of each."),
        (["features.files=[nonesuch.py]"], "there is no file nonesuch.py."),
        (["features.families=[{name: qoute}]"], "unknown family 'qoute'"),
    ],
)
def test_a_mistake_is_one_sentence(overrides, said):
    with pytest.raises(ConfigError, match=said):
        check(configured(*overrides), QUIET)


def test_a_clash_with_a_built_in_family_is_named(tmp_path):
    file = tmp_path / "clash.py"
    file.write_text(CLEAN.read_text().replace('"count",', '"quote",'))
    with pytest.raises(ConfigError, match="family 'quote' is already registered"):
        check(configured(f"features.files=[{file}]", "features.families=[{name: quote}]"), QUIET)


def test_blocks_of_a_source_are_its_ticks(recorded):
    conf = configured("source=parquet", f"source.path={recorded}")
    n = sum(len(b["ts"]) for b in blocks(open_source(conf.source, conf.universe)))
    universe, ticks = market(recorded)
    assert n == len(ticks["ts"]) == 2000
    assert isinstance(universe, Universe)
    assert set(ticks["kind"].tolist()) == {Kind.QUOTE, Kind.TRADE}
