"""Mutated frames against the strict reference: `python tests/mutate_wire.py [FRAMES] [SEED]`. Nothing may crash, and no frame may be
accepted, refused or read otherwise than the twins say. 20,000 are part of the tests; a difference names the seed that repeats it."""

from __future__ import annotations

import random
import sys

import naive_frames
import naive_wire as naive
import numpy as np
from test_wire import decode, expected, mixed, said, same

from tickarrow.jit import wire, wire_message
from tickarrow.jit.wire_message import REASONS

OURS = {q: q for q in range(100)}
GOOD = b"".join(naive.frame(2, 6, 7, 0, k) for k in range(100, 140))
ALPHABET = b"0123456789.-\0eE+ ;?" + bytes([0, 1, 255, 128])
BLOCK = 500


def reference(data: bytes, version: int) -> tuple[list[naive.Said], list[str], int]:
    """What the twins say of a stream: messages of ours, the outcome of every frame, bytes skipped."""
    messages, outcomes, skipped = [], [], 0
    for verdict, payload in naive_frames.walk(data, version):
        if verdict == "skipped":
            outcomes.append("framing lost")
            skipped += len(payload)
        elif naive.req_id(payload) in OURS:
            heard, outcome = naive.decode([payload], OURS, version)
            messages, outcomes = messages + heard, outcomes + outcome
        elif verdict == "sound" and (naive_frames.number(payload) or 0) >= 9001:
            outcomes.append("private")
        elif verdict == "sound" or (payload[-1] == 0 and naive_frames.number(payload) is not None):
            outcomes.append("forwarded")
        else:
            outcomes.append("no final NUL" if payload[-1] else "no message id")
    return messages, outcomes, skipped


def compare(data: bytes, version: int) -> tuple[int, int]:
    """Frames accepted and refused; AssertionError where the kernel and the twins differ. The stream must end with sound frames."""
    wanted, outcomes, skipped = reference(data, version)
    _, messages, status, counts, _ = decode(data, OURS, server_version=version)
    assert status == wire.MORE
    assert counts[wire.SKIPPED] == skipped
    for outcome, n in ((wire_message.DECODED, "decoded"), (wire_message.FORWARDED, "forwarded"), (wire_message.PRIVATE, "private")):
        assert counts[outcome] == outcomes.count(n), n
    for k, reason in enumerate(REASONS[1:], 1):
        assert counts[wire.N_OUTCOMES + k] == outcomes.count(reason), reason
    messages = messages[messages["role"] != wire_message.RESYNC]
    messages["req_id"] = messages["symbol"]  # without `every` the record has the symbol only, which is the reqId here
    want = [expected(s) for s in wanted if s.what]
    assert len(messages) == len(want)
    for m, w in zip(messages, want):
        assert same(said(m), w), (said(m), w)
    return int(counts[wire_message.DECODED]), int(counts[wire_message.BAD])


def mutated(seed: int, n: int = BLOCK) -> bytes:
    """A stream of mutated frames: mostly with lengths that fit, some without; sound at its end."""
    r, out = random.Random(seed), []
    for f in mixed(n, seed):
        body = bytearray(f[4:])
        for _ in range(r.choice([1, 1, 1, 2, 5])):
            k, what = r.randrange(len(body)), r.random()
            if what < 0.5:
                body[k] = r.choice(ALPHABET)
            elif what < 0.75:
                body.insert(k, r.choice(ALPHABET))
            elif len(body) > 3:
                del body[k]
        length = len(body) if r.random() < 0.97 else r.choice([0, 1, len(body) + r.randrange(-3, 60), r.randrange(2**32)])
        out.append(max(length, 0).to_bytes(4, "big") + bytes(body))
        if r.random() < 0.7:  # else nearly all of a stream would be skipped
            out.append(naive.frame(2, 6, r.randrange(100), 0, r.randrange(1, 999)))
    return b"".join(out) + GOOD


def main(argv: list[str]) -> int:
    from rich.progress import track

    frames, seed = int(argv[0]) if argv else 20_000, int(argv[1]) if len(argv) > 1 else 0
    done = np.zeros(2, np.int64)
    for s in track(range(seed, seed + frames // BLOCK), description=f"{frames:,} mutated frames"):
        try:
            done += compare(mutated(s), (157, 163, 166, 178)[s % 4])
        except AssertionError:
            print(f"differs: python tests/mutate_wire.py {BLOCK} {s}", file=sys.stderr)
            raise
    print(f"{frames:,} mutated frames: {done[0]:,} messages accepted, {done[1]:,} frames refused, none otherwise than the reference")
    return 0


if __name__ == "__main__":
    from tickarrow.jit import _kernel

    _kernel.warm()
    sys.exit(main(sys.argv[1:]))
