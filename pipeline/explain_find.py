"""Which decisions of a session are meant: by number, as the last one, by symbol and time, by filters, or drawn at random."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.explain import ExplainConf
from tickarrow.pipeline.errors import ConfigError, SessionError, near
from tickarrow.pipeline.schemas import DECISIONS, OrderState, Reason, Side
from tickarrow.pipeline.session import read_table
from tickarrow.pipeline.swap import time_ns
from tickarrow.pipeline.universe import Universe

Columns = dict[str, npt.NDArray[Any]]
SIDES = {"buy": Side.BUY, "sell": Side.SELL}
LIKE = "decision=SEQ, decision=last or decision=SYMBOL@TIME"
ACTED = (Reason.ORDER, Reason.HORIZON_OVER, Reason.NOT_TURNED, Reason.CANCEL)  # an order or a cancel follows


@dataclass(slots=True)
class Decisions:
    """The recorded decisions of a session."""

    directory: Path
    universe: Universe
    columns: Columns
    side: npt.NDArray[np.int64]  # of the order, else of the forecast; 0 = neither
    key: npt.NDArray[np.int64]  # of the order; 0 = none

    @classmethod
    def read(cls, directory: Path, universe: Universe) -> Decisions:
        """SessionError if there are none, or of an earlier version."""
        table = read_table(directory, "decisions")
        if missing := [name for name in DECISIONS.names if name not in table.schema.names]:
            raise SessionError(
                f"session {directory} was recorded by an earlier version, without DECISIONS.{missing[0]}. Explain it with the tickarrow that recorded it."
            )
        columns = {name: table[name].to_numpy() for name in DECISIONS.names}
        if not len(table):
            raise SessionError(f"session {directory} has no decision: no symbol had a quote and was due. See: tickarrow session check session={directory}")
        edge = np.nan_to_num(columns["edge"])
        side, key = np.sign(edge).astype(np.int64), np.zeros(len(table), np.int64)
        orders = read_table(directory, "orders")
        made = np.isin(orders["state"].to_numpy(), [OrderState.INTENT, OrderState.CANCEL_INTENT])
        seq, of = orders["seq"].to_numpy()[made], orders["symbol"].to_numpy()[made]
        at = np.minimum(np.searchsorted(columns["seq"], seq), len(table) - 1)
        own = (columns["seq"][at] == seq) & (columns["symbol"][at] == of) & np.isin(columns["reason"][at], ACTED)
        # The kill switch may order before the next tick, with the same seq: of several rows the first is the decision's.
        side[at[own][::-1]], key[at[own][::-1]] = orders["side"].to_numpy()[made][own][::-1], orders["key"].to_numpy()[made][own][::-1]
        return cls(directory, universe, columns, side, key)

    def __len__(self) -> int:
        return len(self.side)

    def passing(self, conf: ExplainConf) -> npt.NDArray[np.int64]:
        """Rows that pass the filters; SessionError if none does."""
        keep = np.ones(len(self), bool)
        for given, name in ((conf.reason, "reason"), (conf.side, "side"), (conf.symbol, "symbol")):
            if given is not None:
                keep &= getattr(self, f"_of_{name}")(given)
        if not keep.any():
            said = ", ".join(f"{n}={v}" for n, v in (("reason", conf.reason), ("side", conf.side), ("symbol", conf.symbol)) if v is not None)
            raise SessionError(f"session {self.directory} has no decision with {said}. Its reasons are {self.reasons()}.")
        return np.flatnonzero(keep)

    def reasons(self) -> str:
        """How often which."""
        n = np.bincount(self.columns["reason"], minlength=len(Reason))
        return ", ".join(f"{Reason(r).name.lower()} {n[r]:,}" for r in np.argsort(-n, kind="stable").tolist() if n[r])

    def _of_reason(self, text: str) -> npt.NDArray[np.bool_]:
        names = {r.name.lower(): r for r in Reason}
        if text.lower() not in names:
            raise ConfigError(f"reason is {text!r}. {near(text, list(names))}")
        return np.asarray(self.columns["reason"] == names[text.lower()])

    def _of_side(self, text: str) -> npt.NDArray[np.bool_]:
        if text.lower() not in SIDES:
            raise ConfigError(f"side is {text!r}: expected buy or sell.")
        return np.asarray(self.side == SIDES[text.lower()])

    def _of_symbol(self, text: str) -> npt.NDArray[np.bool_]:
        return np.asarray(self.columns["symbol"] == self._row(text))

    def _row(self, symbol: str) -> int:
        if symbol not in self.universe.symbols:
            raise ConfigError(f"{symbol!r} is not in the session's universe. {near(symbol, self.universe.symbols)}")
        return self.universe.symbols.index(symbol)

    def named(self, text: str, rows: npt.NDArray[np.int64]) -> int:
        """The row that `decision` names, of those that pass the filters."""
        if text == "last":
            return int(rows[-1])
        if "@" in text:
            symbol, _, when = text.partition("@")
            ts = self._time(when)
            own = rows[(self.columns["symbol"][rows] == self._row(symbol)) & (self.columns["ts"][rows] <= ts)]
            if not len(own):
                raise SessionError(f"decision {text!r}: {symbol} has no decision until then. The session begins at {moment_text(int(self.columns['ts'][0]))}.")
            return int(own[-1])
        if not re.fullmatch(r"[0-9_]+", text):
            raise ConfigError(f"decision is {text!r}: expected {LIKE}.")
        seq = int(text.replace("_", ""))
        all_seqs = self.columns["seq"]
        at = int(np.searchsorted(all_seqs, min(seq, 2**63)))
        if at < len(self) and all_seqs[at] == seq:
            return at
        nearest = min(max(at - 1, 0), len(self) - 1)
        raise SessionError(
            f"session {self.directory} has no decision {seq}: it has {len(self):,}, numbered by their ticks, from {all_seqs[0]} to {all_seqs[-1]}; "
            f"near it is {all_seqs[nearest]} ({self.universe.symbols[self.columns['symbol'][nearest]]}, {moment_text(int(self.columns['ts'][nearest]))}). "
            + (f"Order {seq} is of decision {all_seqs[of[0]]}." if len(of := np.flatnonzero(self.key == seq)) else "See the last ones without decision=.")
        )

    def _time(self, text: str) -> int:
        if re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", text):
            day = datetime.datetime.fromtimestamp(int(self.columns["ts"][0]) // 1_000_000_000, datetime.UTC).date()
            text = f"{day}T{text}"
        return time_ns(text, int(self.columns["ts"][0]), "decision=SYMBOL@TIME")


def moment_text(ns: int) -> str:
    """A time in UTC with all its digits."""
    at = datetime.datetime.fromtimestamp(ns // 1_000_000_000, datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{ns % 1_000_000_000:09d}"


def drawn(rows: npt.NDArray[np.int64], n: int, seed: int) -> npt.NDArray[np.int64]:
    """`n` of the rows at random, or all, ascending."""
    if n >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))
