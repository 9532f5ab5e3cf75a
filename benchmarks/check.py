"""After `asv run HEAD^!`: fail if no benchmark produced a figure; those of another commit do not count. `python benchmarks/check.py`. Not an asv module."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def figures(results: Path, commit: str) -> int:
    """Benchmarks with at least one figure of this commit below `results`."""
    found = set()
    for path in results.glob("*/*.json"):
        said = json.loads(path.read_text())
        if path.name != "machine.json" and said.get("commit_hash") == commit:
            found |= {name for name, r in said.get("results", {}).items() if r and any(v is not None for v in (r[0] or []))}
    return len(found)


def main() -> int:
    root = Path(__file__).resolve().parents[1]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    n = figures(root / ".asv" / "results", commit)
    print(f"{n} benchmarks with figures of {commit[:8]}")
    return 0 if n else 1


if __name__ == "__main__":
    sys.exit(main())
