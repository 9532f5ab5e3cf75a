"""A feature family as a user writes it in a file of his own: the number of quotes of the symbol so far, and the last bid."""

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT  # noqa: F401  named by the signatures
from tickarrow.jit.feature import Column, Family

COUNT_STATE = record([("quotes", "i8")])


@kernel("COUNT_STATE, EVENT, i8[:]")
def count_step(s, e, w):
    if e.is_quote:
        s.quotes += 1


@kernel("COUNT_STATE, EVENT, i8[:], out f8[:], i8")
def count_emit(s, e, w, v, at):
    v[at] = float(s.quotes)
    v[at + 1] = e.bid


def columns(tau_s):
    return [Column("quotes", "quotes", "quotes so far"), Column("last_bid", "currency", "b")]


FAMILY = Family("count", 3, columns, state=COUNT_STATE, step=count_step, emit=count_emit)
