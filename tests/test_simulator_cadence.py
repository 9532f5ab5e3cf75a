"""L1 sampled as IBKR does it: which messages come together, in which order, how far apart, beside the figures of a recording."""

import asyncio
import importlib
from itertools import chain
from pathlib import Path

import pytest
from naive_simulator import Client
from test_simulator import MemorySource, gateway, quote, trade

MINUTES = 20.0
SIZES = {1: 0, 2: 3}  # the size message that a price message stands for; after 4 a changed size is said again


@pytest.fixture
def cadence(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    return importlib.import_module("benchmarks.l1_cadence")


def test_groups_keep_the_rules_of_the_recording(cadence):
    found = cadence.groups("large", MINUTES, 3)
    order = [4, 5, 8, 1, 2, 0, 3]
    values, quoted, traded = {}, -9, -9
    for slot, group in found:
        kinds = [t for t, _ in group]
        assert kinds == sorted(kinds, key=order.index)  # 4, 5, 8, then 1, 2, then 0, 3
        assert len(set(kinds)) == len(kinds)
        for t, v in group:
            assert values.get(t) != v  # only what has changed
            values[t] = v
            if t in SIZES:
                values[SIZES[t]] = (v[1],)  # of a side whose price moved only the price message
        if {0, 1, 2, 3} & set(kinds):
            assert {1, 2} & set(kinds) or slot - quoted >= 3  # sizes alone wait
            quoted = slot
        if 8 in kinds:
            assert {4, 5} & set(kinds) or slot - traded >= 3
            traded = slot
    assert len(found) > 500


def test_figures_are_near_those_of_the_recording(cadence):
    got, recorded = cadence.measure(cadence.groups("large", MINUTES, 3), MINUTES), cadence.RECORDED
    assert abs(got.groups_per_s - recorded.groups_per_s) < 0.6
    assert abs(got.ticks_per_group - recorded.ticks_per_group) < 0.6
    assert max(abs(got.spacing.get(k, 0.0) - recorded.spacing[k]) for k in (1, 2, 3, 4)) < 0.15
    assert max(abs(got.types.get(t, 0.0) - recorded.types[t]) for t in cadence.TYPES) < 0.12
    assert set(got.frequent[:10]) >= {"0", "3", "0-3", "5-8"}
    assert cadence.said(b"\0\0\0\x0e1\x006\x007\x004\x0010\x0050\x00")[0][0] == 4


def test_a_slot_is_one_packet_or_two_a_moment_apart():
    rows = [r for k in range(60) for r in (trade(250.3 * k + 1, 0, 10.0 + k / 100, 100.0 + k), quote(250.3 * k + 2, 0, 10.0 + k / 100, 10.02 + k / 100))]

    async def main(split):
        async with gateway(MemorySource(rows), speed=20.0, conflation_ms=250.3, split_packets=split, day_ticks=False) as (simulator, port):
            c = await Client.connect(port, "+END")
            packets = []
            s = next(iter(simulator.sessions))
            write = s.transport.write

            class Transport:
                def __getattr__(self, name):
                    return getattr(s_transport, name)

                def write(self, data):
                    packets.append((asyncio.get_running_loop().time(), data))
                    write(data)

            s_transport, s.transport = s.transport, Transport()
            c.subscribe(1, "BAC")
            await c.until("9003")
            c.close()
            data = [(t, [f.split(b"\0")[3] for f in frames_of(d) if f[:1] in b"12"]) for t, d in packets if b"\x006\x001\x00" in d]
            return [(t, kinds) for t, kinds in data if b"8" in kinds or b"1" in kinds][1:]

    whole, parts = asyncio.run(main(0.0)), asyncio.run(main(1.0))
    assert all(kinds == [b"4", b"5", b"8", b"1", b"0", b"2", b"3"] for _, kinds in whole)
    assert [kinds for _, kinds in parts[:4]] == [[b"4", b"5", b"8"], [b"1", b"0", b"2", b"3"]] * 2
    assert list(chain.from_iterable(kinds for _, kinds in parts)) == list(chain.from_iterable(kinds for _, kinds in whole))


def frames_of(data):
    at = 0
    while at < len(data):
        n = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + n]
        at += 4 + n
