"""All families over the first rows of recorded ticks: no infinity, and no missing value that the metadata of its column does not explain."""

import numpy as np
import pytest
from conftest import DATA
from feature_book import books
from feature_data import COLUMNS, compute, errors, files, main, rules

FILES = files() if DATA.is_dir() else []
HERE = pytest.mark.skipif(not FILES, reason="recorded ticks are not here (TICKARROW_DATA names their folder)")


@pytest.mark.parametrize("column", [c for _, c in COLUMNS], ids=lambda c: c.name)
def test_every_warm_up_says_when_a_value_is_owed(column):
    assert all(reason and callable(fact) for reason, fact in rules(column))  # a text without a rule is an error


def depth_rows(*rows):
    """Columns of DEPTH of (seq, side, position, operation, price, size) of one symbol."""
    names = {"seq": np.uint64, "side": np.uint8, "position": np.int32, "operation": np.uint8, "price": float, "size": float}
    return {"symbol": np.zeros(len(rows), np.int32)} | {n: np.array(c, t) for (n, t), c in zip(names.items(), zip(*rows, strict=True), strict=True)}


TWO_SIDES = ((1, 0, 0, 0, 10.0, 5.0), (2, 1, 0, 0, 11.0, 5.0))


@pytest.mark.parametrize(
    ("more", "lost", "bid", "ask", "seen", "events"),
    [
        ((), [], 1, 1, 0, 0),
        (((3, 0, 0, 1, 10.0, 5.0),), [], 1, 1, 1, 0),  # sent again: there twice, no change
        (((3, 0, 0, 1, 10.0, 7.0),), [], 1, 1, 1, 1),
        (((3, 0, 1, 0, 10.0, 7.0),), [], 1, 1, 1, 1),  # another one's size at the same price: one level of 12
        (((3, 0, 1, 0, 9.0, 7.0),), [], 2, 1, 1, 0),  # a level that is new is no change of another
        (((3, 0, 1, 0, 9.0, 0.0),), [], 1, 1, 1, 0),  # a row without a size is none
        (((3, 0, 0, 2, 10.0, 0.0),), [], 0, 1, 0, 0),
        (((3, 0, 2, 1, 9.0, 7.0),), [], 0, 0, 0, 0),  # does not fit: uncertain
        (((3, 0, 2, 1, 9.0, 7.0), (4, 0, 0, 1, 10.0, 5.0)), [], 0, 0, 0, 0),  # the one between was never sent
        (((3, 0, 2, 1, 9.0, 7.0), (4, 0, 0, 1, 10.0, 5.0), (4, 0, 1, 1, 9.5, 5.0)), [], 3, 1, 0, 0),
        ((), [(5, 0)], 0, 0, 0, 0),  # data was lost before tick 5
        (((6, 0, 0, 1, 10.0, 7.0),), [(5, 0)], 1, 1, 0, 0),
    ],
)
def test_the_book_of_the_facts(more, lost, bid, ask, seen, events):
    told = books(depth_rows(*TWO_SIDES, *more), lost, np.array([0, 1, 9]), np.zeros(3, int))
    assert told["changes"][:2].tolist() == [0, 1]
    assert (told["bid"][2], told["ask"][2], told["seen"][2].sum(), told["events"][2]) == (bid, ask, seen, events)


@HERE
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_missing_values_of_recorded_ticks_are_explained(path):
    told = compute(path, small=True)
    assert not errors(told)


@HERE
def test_the_page_counts_and_holds_no_row(tmp_path):
    page = tmp_path / "features-data.md"
    assert main(["--small", "--only", "es_futures_mbp1", "--write", str(page)]) == 0
    text = page.read_text()
    assert "| es_futures_mbp1_dev | 2,408 |" in text
    assert all(f"| {c.name} |" in text for _, c in COLUMNS)
