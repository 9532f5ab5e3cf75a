"""Feature families as a user writes them in a file of his own: one with a state, one function of the tick."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT  # noqa: F401  the signatures name it
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.stateless import feature

SCALE = np.array([1e4, 2.0])
COUNT_STATE = record([("quotes", "i8")])


@kernel("COUNT_STATE, EVENT, i8[:]")
def count_step(s, e, w):
    if e.is_quote:
        s.quotes += 1


@kernel("COUNT_STATE, EVENT, i8[:], out f8[:], i8")
def count_emit(s, e, w, v, at):
    v[at] = s.quotes
    v[at + 1] = e.bid


@feature(unit="bp", formula="1e4 (a - b) / m", reference="Harris (2003)")
def my_spread(e):
    return SCALE[0] * (e.ask - e.bid) / e.mid


FAMILY = Family(
    "count",
    3,
    lambda tau_s: [Column("my_quotes", "1", "quotes of the symbol so far"), Column("last_bid", "currency", "b")],
    state=COUNT_STATE,
    step=count_step,
    emit=count_emit,
)
