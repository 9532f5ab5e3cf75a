"""Our figures beside the peers': `python benchmarks/peers.py STAGE` prints one line a peer,
`stage peer work peer_median ours_median ratio`. Interleaved and pinned to one core; wrong data, a wrong peer version or a result that
differs from the peer's is an error, not a fast number. Not an asv module."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

STAGES = ("wire", "trees", "features", "decision", "plan")


def main(argv: list[str]) -> int:
    if len(argv) != 1 or argv[0] not in STAGES:
        print(f"usage: python benchmarks/peers.py {{{'|'.join(STAGES)}}}", file=sys.stderr)
        return 1
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    for line in importlib.import_module(f"benchmarks.peers_{argv[0]}").run():
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
