"""After `asv run`: fail if no benchmark produced a figure. `python benchmarks/check.py`. Not an asv module."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def figures(results: Path) -> int:
    """Benchmarks with at least one figure in the newest result file below `results`."""
    files = [p for p in results.glob("*/*.json") if p.name != "machine.json"]
    if not files:
        return 0
    newest = json.loads(max(files, key=lambda p: p.stat().st_mtime).read_text())
    return sum(1 for r in newest.get("results", {}).values() if r and any(v is not None for v in (r[0] or [])))


def main() -> int:
    n = figures(Path(__file__).resolve().parents[1] / ".asv" / "results")
    print(f"{n} benchmarks with figures")
    return 0 if n else 1


if __name__ == "__main__":
    sys.exit(main())
