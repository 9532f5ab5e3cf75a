"""RTVolume of the simulated gateway: what each trade says, for whom, and that our decoder reads it without counting a trade twice."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from incidents import incident
from naive_simulator import Client
from test_simulator import NAN, START, MemorySource, gateway, quote, trade

from tickarrow.pipeline.simulator_rt_volume import RtVolume

MS = START // 1_000_000
ROWS = [
    quote(0, 0, 10.0, 10.02), quote(1, 1, 15.0, 15.02), trade(10, 0, 10.0, 100.0), trade(20, 0, 10.02, 300.0), trade(30, 0, NAN, 50.0),
    trade(35, 1, 15.0, 700.0), trade(40, 0, 10.01, 1.5), quote(50, 0, 10.0, 10.02),
]  # fmt: skip


@pytest.mark.parametrize(("version", "size", "total"), [(178, "1.5", "451.5"), (157, "1", "451")])
def test_each_trade_is_told_behind_its_l1_messages_to_who_asked_for_generic_tick_233(version, size, total):
    async def main():
        async with gateway(MemorySource(ROWS)) as (_, port):
            c = await Client.connect(port, "+LOCKSTEP", version=version)
            c.subscribe(1, "BAC", generic="221,233")
            c.subscribe(2, "BAC", generic="221")
            c.subscribe(3, "IBM")
            return await c.follow()

    seen = asyncio.run(main())
    told = [f for f in seen if f[0] == "46" and f[3] == "48"]
    assert [f[2] for f in told] == ["1"] * 4
    assert [f[4] for f in told] == [
        f"10;100;{MS + 10};100;10;true",
        f"10.02;300;{MS + 20};400;10.015;true",  # (1000 + 3006) / 400
        f";50;{MS + 30};450;10.015;true",  # a trade without a price has no part in the average
        f"10.01;{size};{MS + 40};{total};10.01498132;true",  # (4006 + 15.015) / 401.5
    ]
    for f in told:
        at = next(k for k, other in enumerate(seen) if other is f)
        assert seen[at - 1][:1] in (["2"], ["1"])  # the volume, or a price of the day
        assert seen[at + 1][0] == "9001"


def test_the_average_price_counts_the_trades_before_the_first_request():
    source = MemorySource(ROWS, block=3)
    feed = SimpleNamespace(source=source, state=np.zeros(2, [("volume", "i8")]))
    volume = RtVolume(feed)
    columns = [(r.ts, r.symbol, r.kind, r.mask, r.bid, r.bid_size, r.ask, r.ask_size, r.price, r.size) for r in source.blocks()]
    volume.sent(columns[0], 0, 3)
    volume.sent(columns[1], 0, 2)
    volume.add(None, 1, 0)
    volume.sent(columns[1], 2, 3)
    assert volume._amount.tolist() == [4006.0, 10_500.0]
    assert volume._shares.tolist() == [400.0, 700.0]


def test_the_decoder_reads_every_one_and_counts_no_trade_twice():
    def trades(found):
        ticks = found.desk.ticks
        of = ticks.column("kind") == 1
        return list(zip(ticks.column("symbol")[of].tolist(), ticks.column("price")[of].tolist(), ticks.column("size")[of].tolist()))

    plain, more = incident(seconds=30.0), incident(seconds=30.0, generic_ticks="233")
    counts = more.desk.decode.counts()
    told = counts["decoded"] - plain.desk.decode.counts()["decoded"]
    n = min(len(trades(plain)), len(trades(more)))
    assert n > 20
    assert abs(told - n) <= 3  # they end a moment apart
    assert counts["bad"] == 0
    assert trades(more)[:n] == trades(plain)[:n]
