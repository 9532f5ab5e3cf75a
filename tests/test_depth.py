"""The depth book: by hand, against its twin, and through resets and lost data."""

from __future__ import annotations

import naive_depth as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import depth
from tickarrow.pipeline import schemas

SYMBOLS, ROOM = 2, 5
BID, ASK, INSERT, UPDATE, DELETE = depth.BID, depth.ASK, depth.INSERT, depth.UPDATE, depth.DELETE


def new() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(SYMBOLS, depth.DEPTH_STATE), np.zeros((SYMBOLS, 2, ROOM), depth.LEVEL)


def change(book, side, position, operation, price=0.0, size=0.0, code=0, i=0):
    return depth.depth_point(*book, i, side, position, operation, float(price), float(size), np.uint64(code))


def side(book, k, i=0) -> list[tuple[float, float]]:
    state, levels = book
    return [(x["price"].item(), x["quantity"].item()) for x in levels[i, k, : state[i]["levels"][k]]]


@pytest.mark.pure
def test_codes_are_those_of_the_schemas():
    assert (depth.UNCERTAIN, depth.GAP) == (schemas.Flag.UNCERTAIN, schemas.Flag.GAP)


@pytest.mark.pure
def test_insert_update_and_delete_by_hand():
    book = new()
    for position, price in enumerate((10.00, 9.99, 9.98)):
        assert change(book, BID, position, INSERT, price, 100) == 0
    change(book, BID, 1, INSERT, 9.995, 50)  # 10.00 9.995 9.99 9.98
    change(book, BID, 0, UPDATE, 10.00, 70)
    change(book, BID, 2, DELETE)
    change(book, ASK, 0, INSERT, 10.02, 30)
    assert side(book, BID) == [(10.00, 70), (9.995, 50), (9.98, 100)]
    assert side(book, ASK) == [(10.02, 30)]
    assert (side(book, BID, 1), book[0]["gaps"].sum()) == ([], 0)


@pytest.mark.pure
def test_a_full_side_drops_its_last_level():
    book = new()
    for price in (10, 9, 8, 7, 6):
        change(book, BID, 0, INSERT, price, 1)
    assert change(book, BID, 0, INSERT, 5, 1) == 0
    assert [p for p, _ in side(book, BID)] == [5, 6, 7, 8, 9]


@pytest.mark.pure
@pytest.mark.parametrize(
    ("position", "operation", "levels"),
    [
        (1, UPDATE, [(10, 1), (9, 2)]), (2, INSERT, [(10, 1), (np.nan, np.nan), (9, 2)]), (1, DELETE, [(10, 1)]), (5, INSERT, [(10, 1)]),
        (99, UPDATE, [(10, 1)]), (-1, DELETE, [(10, 1)]),
    ],
)  # fmt: skip
def test_a_change_that_does_not_fit_is_a_gap_until_each_level_was_sent_anew(position, operation, levels):
    book = new()
    change(book, BID, 0, INSERT, 10, 1)
    assert change(book, BID, position, operation, 9, 2) == depth.GAP | depth.UNCERTAIN
    np.testing.assert_array_equal(side(book, BID), levels)
    assert change(book, ASK, 0, INSERT, 11, 1) == depth.UNCERTAIN  # the other side does not help
    for k in range(len(levels) - 1):
        change(book, BID, k, UPDATE, 10 - k, 1)
    assert change(book, BID, len(levels) - 1, UPDATE, 9, 2) == 0
    assert book[0]["gaps"][0] == 1


@pytest.mark.pure
def test_a_reset_empties_the_book_of_its_symbol_only():
    book = new()
    for i in range(SYMBOLS):
        change(book, BID, 0, INSERT, 10, 1, i=i)
        change(book, ASK, 3, INSERT, 11, 1, i=i)
    depth.depth_reset(book[0], 0)
    assert (side(book, BID), side(book, ASK), len(side(book, ASK, 1))) == ([], [], 4)
    assert list(book[0]["resets"]) == [1, 0]
    assert change(book, BID, 0, INSERT, 10, 1) == 0


@pytest.mark.pure
def test_after_lost_data_both_sides_must_be_sent_anew():
    book = new()
    change(book, BID, 0, INSERT, 10, 1)
    change(book, ASK, 0, INSERT, 11, 1)
    depth.depth_lost(*book, 0, SYMBOLS)
    assert change(book, BID, 0, UPDATE, 10, 1) == depth.UNCERTAIN
    assert change(book, ASK, 0, UPDATE, 11, 1) == 0


CHANGE = st.tuples(
    st.integers(0, SYMBOLS - 1), st.integers(0, 1), st.integers(-1, ROOM + 1), st.integers(0, 2), st.sampled_from([9.0, 10.0]), st.integers(0, 3),
    st.sampled_from([0, 7]),
)  # fmt: skip


@pytest.mark.pure
@given(st.lists(st.one_of(CHANGE, CHANGE, CHANGE, st.sampled_from(["reset", "lost"])), max_size=80))
def test_the_book_equals_its_twin(events):
    book, twins = new(), [naive.Book(ROOM) for _ in range(SYMBOLS)]
    for event in events:
        if event == "reset":
            depth.depth_reset(book[0], 1)
            twins[1].reset()
        elif event == "lost":
            depth.depth_lost(*book, 0, SYMBOLS)
            for twin in twins:
                twin.lost()
        else:
            i, k, position, operation, price, size, code = event
            flags = change(book, k, position, operation, price, size, code, i)
            assert (bool(flags & depth.GAP), bool(flags & depth.UNCERTAIN)) == twins[i].change(k, position, operation, price, size, code)
        for i, twin in enumerate(twins):
            state = book[0][i]
            assert (state["gaps"], state["resets"], list(state["levels"])) == (twin.gaps, twin.resets, [len(x) for x in twin.sides])
            for k in range(2):
                got = [x.item() for x in book[1][i, k, : state["levels"][k]]]
                np.testing.assert_array_equal(got, [tuple(x) for x in twin.sides[k]])
                assert state["unknown"][k] == sum(not x[3] for x in twin.sides[k])
