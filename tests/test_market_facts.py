import math
from dataclasses import replace

import naive_market_facts as naive
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from commands import tickarrow
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.configs.market import MarketReportConf
from tickarrow.pipeline import market_facts as facts
from tickarrow.pipeline import market_report as report
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.market_facts import RATIO, SECOND, SHARE, Day
from tickarrow.pipeline.market_pairs import PAIRS, pair_facts
from tickarrow.pipeline.source_rows import Rows

Q, T = 0, 1
times = st.lists(st.integers(0, 5 * SECOND - 1), min_size=2, max_size=40).map(sorted)
numbers = st.lists(st.integers(-50, 50), min_size=2, max_size=60)


def day(rows, seconds=10, tick=0.01):
    """Rows (ns, bid, bid size, ask, ask size) or (ns, price, size), prices in ticks."""
    columns = []
    for r in rows:
        quote = len(r) == 5
        values = [r[1] * tick, r[2], r[3] * tick, r[4], np.nan, np.nan] if quote else [np.nan] * 4 + [r[1] * tick, r[2]]
        columns.append([r[0], Q if quote else T, *values])
    a = np.array(columns, float).T
    return Day(0, seconds * SECOND, tick, a[0].astype(np.int64), a[1].astype(np.uint8), *a[2:])


def of_times(ts, seconds=5):
    return day([(t, 100, 5, 101, 5) for t in ts], seconds)


# Twins


@given(times, st.sampled_from([1, 1000, 10**6, SECOND]))
def test_peak_and_counts_equal_their_twins(ts, width):
    assert facts.peak(np.array(ts), width) == naive.peak(ts, width)
    if width == SECOND:
        assert facts.counts(of_times(ts), width).tolist() == naive.counts(ts, 0, 5 * SECOND, width)


@given(numbers, st.integers(1, 5))
def test_acf_equals_its_twin(x, lag):
    np.testing.assert_allclose(facts.acf(np.array(x), lag), naive.acf(x, lag), rtol=1e-9, atol=1e-12)


quote = st.tuples(st.integers(95, 105), st.integers(1, 9), st.integers(95, 105), st.integers(1, 9))


@given(st.lists(quote, min_size=2, max_size=30))
def test_order_flow_equals_its_twin(quotes):
    d = day([(k, *q) for k, q in enumerate(quotes)])
    assert facts.ofi(d).tolist() == naive.ofi(quotes)


row = st.one_of(st.tuples(st.just("q"), st.integers(95, 105), st.integers(95, 105)), st.tuples(st.just("t"), st.integers(95, 105)))


@given(st.lists(row, min_size=1, max_size=30))
def test_trade_signs_equal_their_twin(rows):
    d = day([(k, r[1], 5, r[2], 5) if r[0] == "q" else (k, r[1], 7) for k, r in enumerate(rows)])
    assert facts.signs(d)[0].tolist() == naive.signs(rows)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 6)), min_size=1, max_size=150).map(sorted))
def test_spread_shares_equal_their_twin(quotes):
    if len(quotes) <= 100 or quotes[0][0] == 9:
        quotes = [(0, 1)] * 100 + quotes  # a day with fewer quotes has no spread facts
    got = facts.facts(day([(t * SECOND, 100, 5, 100 + w, 5 + k % 2) for k, (t, w) in enumerate(quotes)]))
    expected = naive.spread_shares(quotes, 10)
    for n in (1, 2, 3, 4):
        assert got[f"spread_{n}"] == pytest.approx(expected.get(n, 0), abs=1e-12)
    assert got["spread_5"] == pytest.approx(sum(v for w, v in expected.items() if w >= 5), abs=1e-12)
    assert got["locked"] == pytest.approx(sum(w == 0 for _, w in quotes) / len(quotes))
    assert got["crossed"] == pytest.approx(sum(w < 0 for _, w in quotes) / len(quotes))


@given(times)
def test_the_value_in_force_equals_its_twin(ts):
    grid = np.arange(0, 5 * SECOND, SECOND // 3)
    got = facts.at(np.array(ts), np.arange(len(ts)) * 1.0, grid)
    assert [None if math.isnan(v) else v for v in got] == [None if math.isnan(v := naive.at(list(zip(ts, range(len(ts)))), g)) else v for g in grid]


# By hand


def test_a_hand_computed_second():
    # Five rows: gaps 0, 0.5 ms, 1 ms, 2 s. Three of them begin within 1 ms; seconds hold 4, 0, 1, 0 ... rows.
    got = facts.facts(of_times([0, 0, 500_000, 1_500_000, 2 * SECOND + 1_500_000], 10))
    assert (got["rate"], got["peak_1s"], got["peak_1ms"]) == (0.5, 4, 3)
    assert (got["iat_0"], got["iat_1ms"], got["empty_seconds"]) == (0.25, 0.5, 0.8)
    assert got["p99_second"] == pytest.approx(1 + 3 * 0.91)  # sorted 0 x 8, 1, 4: place 8.91


def test_hand_computed_trades():
    # Quote 100 x 102; a buy at 102, a sell at 100, one at the mid after a fall: sell; one outside at 103.
    d = day([(0, 100, 5, 102, 5), (1, 102, 7), (2, 100, 7), (3, 101, 7), (4, 103, 7)])
    assert facts.signs(d)[0].tolist() == [1, -1, 1, 1]  # at the mid the last different price was lower: the tick rule says buy
    got = facts.facts(d)
    assert got["trades_per_quote"] == 4
    assert [got[f"trades_{w}"] for w in ("at_bid", "at_ask", "inside", "outside")] == [0.25] * 4


def test_hand_computed_moves():
    # The mid goes up, down, up, up by half a tick: two of three changes follow one against them.
    asks = [101, 102, 101, 102, 103]
    q = [(k * SECOND // 100, 100, 5 + k % 2, a, 5) for k, a in enumerate([101] * 100 + asks)]
    got = facts.facts(day(q, 100))
    assert (got["mid_moves"], got["mid_move_1"], got["reversal"]) == (0.04, 1.0, pytest.approx(2 / 3))


def test_flow_that_moves_the_mid_explains_it():
    # Each second the whole quote moves one tick with equal sizes: flow is +-10, the change +-1. R2 is 1.
    side = np.random.default_rng(1).integers(0, 2, 400) * 2 - 1
    level = 100 + np.cumsum(side)
    got = facts.facts(day([(k * SECOND, b, 5 if k else 6, b + 1, 5) for k, b in enumerate(level)], 400))
    assert got["ofi_r2_1s"] == pytest.approx(1.0)


def test_shares_of_half_hours():
    assert facts.shares(np.array([1.0, 1, 2, 0, 4, 0, 9]), 2).tolist() == [0.25, 0.25, 0.5]


def test_a_pair_that_follows_is_led():
    moves = np.random.default_rng(2).integers(-2, 3, 500)
    a, b = 10_000 + np.cumsum(moves), 10_000 + np.cumsum(np.append(0, moves[:-1]))
    x, y = (day([(k * SECOND, p, 5, p + 1, 5) for k, p in enumerate(level)], 500) for level in (a, b))
    got = pair_facts(x, y)
    returns = [np.diff(np.log(level[60:] + 0.5)) for level in (a, b)]
    assert got["lead_1s"] == pytest.approx(naive.correlation(returns[0][:-1].tolist(), returns[1][1:].tolist()), abs=0.02)
    assert got["lead_1s"] > 0.95
    assert abs(got["lag_1s"]) < 0.2
    assert got["joint_peak_1s"] == 1.0  # both have one row in every second, at the same time
    assert list(got) == list(PAIRS)


def test_an_empty_day_has_no_facts():
    empty = of_times([0, 1]).where(np.array([False, False]))
    assert all(math.isnan(v) for v in facts.facts(empty).values())


# Seen as the file shows it


def test_a_generated_day_is_reduced_to_what_the_file_shows():
    d = day([(100, 100, 5, 101, 5), (SECOND // 2 + 7, 101, 5, 102, 5), (SECOND // 2 + 9, 102, 3), (SECOND + 5, 102, 5, 103, 5)])
    trades_only, quotes_only = d.where(~d.quote), d.where(d.quote)
    assert report.alike(d, [trades_only]).ts.tolist() == [SECOND // 2 + 9]
    assert report.alike(d, [quotes_only]).ts.tolist() == quotes_only.ts.tolist()
    closes = d.where(np.array([True, False, True, False]), ts=np.array([SECOND, SECOND // 2 + 1]))
    got = report.alike(d, [closes])  # the last quote of each second, at its end; the trade stays
    assert got.ts.tolist() == [SECOND // 2 + 9, SECOND, 2 * SECOND]
    assert np.round(got.bid[1:] * 100).tolist() == [101, 102]
    milliseconds = replace(d, ts=d.ts // 1_000_000 * 1_000_000)
    assert report.alike(d, [milliseconds]).ts.tolist() == milliseconds.ts.tolist()


def test_rows_with_one_side_keep_the_other():
    n = np.nan
    rows = Rows(np.array([1, 2, 3, 4, 5]), np.zeros(5, np.int32), np.array([Q, Q, T, Q, Q], np.uint8), np.array([15, 1, 0, 15, 15], np.uint8),
                np.array([1.0, 1.01, n, n, 1.0]), np.array([5.0, n, n, n, 5]), np.array([1.02, n, n, n, 1.02]), np.array([6.0, n, n, n, 6]),
                np.array([n, n, 1.01, n, n]), np.array([n, n, 100, n, n]))  # fmt: skip
    got = report._day(rows.columns(), 0, 0, 5, 0.01)
    assert got.ts.tolist() == [1, 2, 3]  # the quote without sides and the row at the end are left out
    assert got.bid[:2].tolist() == [1.0, 1.01]
    assert got.ask[:2].tolist() == [1.02, 1.02]


def test_a_fact_is_judged_against_the_nearest_recorded_day():
    real = [{"x": 10.0}, {"x": 20.0}]
    assert report.judge("S", "x", RATIO, real, [{"x": 15.0}]).value == 1.0
    over = report.judge("S", "x", RATIO, real, [{"x": 31.0}])
    assert (over.value, over.inside) == (1.55, False)
    under = report.judge("S", "x", RATIO, real, [{"x": 6.0}, {"x": 8.0}])
    assert (under.value, under.inside) == (pytest.approx(0.7), True)
    assert report.judge("S", "x", SHARE, real, [{"x": 20.2}]).inside is False
    assert report.judge("S", "x", SHARE, [], [{"x": 20.2}]).inside is None


# The command


def recorded(path, seconds=180):
    """A file of two symbols with a quote and a trade a second from 9:30 New York on 2026-01-05."""
    ts = 1_767_623_400 * SECOND + np.arange(2 * seconds) * SECOND // 2
    kind = np.array(["quote", "trade"] * seconds)
    quote = kind == "quote"
    bid = np.where(quote, 100 + np.arange(2 * seconds) // 2 % 3 * 0.01, np.nan)
    pq.write_table(pa.table({
        "ts_event": ts, "symbol": np.array(["AA", "BB"])[np.arange(2 * seconds) // 2 % 2], "kind": kind,
        "bid": bid, "ask": bid + 0.01, "bid_size": np.where(quote, 300.0 + np.arange(2 * seconds) % 7, np.nan), "ask_size": np.where(quote, 200.0, np.nan),
        "price": np.where(quote, np.nan, 100.0), "size": np.where(quote, np.nan, 100.0),
    }), path)  # fmt: skip


def test_the_command_compares_and_draws(tmp_path):
    pytest.importorskip("plotly")
    recorded(tmp_path / "ticks.parquet")
    done = tickarrow("market", "real=ticks.parquet", "classes={AA: large, BB: small}", "seeds=[1]", "duration_s=120", "out=new/page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AA: large" in done.stdout
    assert "AA/BB" in done.stdout
    assert "facts are inside" in done.stdout
    table = pq.read_table(tmp_path / "new/page.parquet").to_pandas()
    rate = table[(table.name == "AA") & (table.fact == "rate")].iloc[0]
    assert rate.real_mean == pytest.approx(180 / 23_400)  # half of the 360 rows, over the hours
    assert table.fact.tolist() == pa.csv.read_csv(tmp_path / "new/page.csv")["fact"].to_pylist()
    page = (tmp_path / "new/page.html").read_text()
    assert "AA: class large" in page
    assert page.count("Plotly.newPlot(") >= 2


def test_without_a_file_the_generated_facts_are_printed(tmp_path):
    pytest.importorskip("plotly")
    done = tickarrow("market", "classes={AA: etf}", "seeds=[2]", "duration_s=60", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AA: etf" in done.stdout
    assert "facts are inside" not in done.stdout
    assert (tmp_path / "market.html").exists()


def test_what_is_wrong_is_one_sentence(tmp_path, monkeypatch):
    recorded(tmp_path / "ticks.parquet")
    conf = MarketReportConf(real=str(tmp_path / "ticks.parquet"), classes={"AA": "large"}, seeds=[1], duration_s=1.0, out=str(tmp_path / "x.html"))
    with pytest.raises(DataError, match=r"AA has no rows from 12:00 to 13:00 \(America/New_York\). Choose other hours."):
        report.main(replace(conf, hours=["12:00", "13:00"]))
    with pytest.raises(ConfigError, match=r"hours is .*Give two local times"):
        report.main(replace(conf, hours=["noon", "13:00"]))
    with pytest.raises(ConfigError, match=r"classes is 'large'. Give a class for each symbol, for example 'classes={BAC: large, IBM: small}'."):
        report.main(replace(conf, classes="large"))
    with pytest.raises(ConfigError, match="the second time must be later"):
        report.main(replace(conf, hours=["13:00", "12:00"]))
    monkeypatch.setitem(__import__("sys").modules, "plotly", None)
    monkeypatch.delitem(__import__("sys").modules, "tickarrow.pipeline.market_page", raising=False)
    with pytest.raises(ConfigError) as e:
        report.main(conf)
    assert str(e.value) == "tickarrow market draws with plotly, which is not installed. Install it: pip install 'tickarrow[report]'"


def test_facts_of_recorded_ticks_are_the_published_ones(equity_ticks):
    # BAC 2013-10-07..09 as described when the file was collected: one tick always, half of the rows share their millisecond.
    conf = MarketReportConf(real=str(equity_ticks), classes={"BAC": "large"})
    from rich.progress import Progress

    with Progress(disable=True) as progress:
        days = report.recorded_days(conf, progress)["BAC"]
    got = [facts.facts(d) for d in days]
    assert len(got) == 3
    assert all(13 < f["rate"] < 20 for f in got)
    assert all(7.1 < f["spread_bps_p50"] < 7.3 for f in got)
    assert all(0.49 < f["iat_0"] < 0.53 for f in got)
    assert max(f["peak_1s"] for f in got) > 1_100
