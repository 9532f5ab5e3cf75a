"""The universe: symbols, their row numbers, and what an order needs to know of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import ConfigError


@dataclass(frozen=True)
class Instrument:
    """One tradable symbol."""

    symbol: str
    row: int
    tick_size: float  # currency
    lot: float = 1.0  # shares
    con_id: int = 0  # 0 = ask the gateway
    market_class: str = "small"  # of the generated market: large, small, etf, book, future, fx


@dataclass(frozen=True)
class Universe:
    """Ordered instruments; the row number is the `symbol` column of every table."""

    instruments: tuple[Instrument, ...]
    rows: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", {i.symbol: i.row for i in self.instruments})
        if len(self.rows) != len(self.instruments):
            twice = sorted({i.symbol for i in self.instruments if self.rows[i.symbol] != i.row})
            raise ConfigError(f"universe: symbol {twice[0]!r} is listed twice. List each symbol once (universe.symbols).")

    @classmethod
    def of(cls, symbols: Iterable[str], tick_size: float = 0.01, classes: Iterable[str] = ("small",)) -> Universe:
        """Universe of the symbols in their order; market classes are dealt out in turn."""
        kinds = list(classes)
        return cls(tuple(Instrument(str(s), i, tick_size, market_class=kinds[i % len(kinds)]) for i, s in enumerate(symbols)))

    @classmethod
    def from_conf(cls, conf: UniverseConf) -> Universe:
        if not conf.symbols:
            raise ConfigError("universe: no symbols. Name them, for example 'universe.symbols=[BAC,IBM]'.")
        if not conf.classes:
            raise ConfigError("universe.classes is empty. Name at least one class of the generated market, for example 'universe.classes=[large]'.")
        return cls.of(conf.symbols, conf.tick_size, conf.classes)

    def __len__(self) -> int:
        return len(self.instruments)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self.instruments)

    @property
    def symbols(self) -> list[str]:
        return [i.symbol for i in self.instruments]

    def row(self, symbol: str) -> int:
        """Row number of a symbol; ConfigError names the known ones."""
        try:
            return self.rows[symbol]
        except KeyError:
            known = ", ".join(self.symbols[:10]) + (", ..." if len(self) > 10 else "")
            raise ConfigError(f"unknown symbol {symbol!r}: the universe has {known}. Choose one of these or add it to universe.symbols.") from None
