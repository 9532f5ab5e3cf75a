"""The other side of `tickarrow doctor latency`: a process that writes to a socket at times that were fixed before it began.

It never waits for its reader's answer, and a latency is counted from the time that was fixed: what queues behind a slow decision is late by
all of it, so nothing is left out by coordinated omission. `doctor_send.py FD FILE`, with only the standard library, because it starts
often; FILE holds int64 pairs (ns after the start, bytes) and then the bytes."""

import json
import socket
import struct
import sys
import time

SOON_NS, SPIN_NS = 50_000_000, 200_000


def main(descriptor: int, path: str) -> None:
    """Wait for a word, tell when it starts (ns of the monotonic clock), send, tell how late the sender itself was."""
    with open(path, "rb") as f:
        (n,) = struct.unpack("<q", f.read(8))
        pairs = list(struct.iter_unpack("<qq", f.read(16 * n)))
        data = f.read()
    late, at = [], 0
    with socket.socket(fileno=descriptor) as s:
        sys.stdin.readline()
        start = time.perf_counter_ns() + SOON_NS
        print(start, flush=True)
        for offset, size in pairs:
            due = start + offset
            left = due - time.perf_counter_ns()
            if left > SPIN_NS:
                time.sleep((left - SPIN_NS) / 1e9)
            while (now := time.perf_counter_ns()) < due:
                pass
            s.sendall(data[at : at + size])
            at += size
            late.append(now - due)
    late.sort()
    print(json.dumps({"p50": late[len(late) // 2], "p99": late[len(late) * 99 // 100], "max": late[-1]}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
