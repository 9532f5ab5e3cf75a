"""A week of recording: `python tests/record_week.py [days] [symbols] [speed]`. Five sessions of the generated market through the simulated
gateway, with what IBKR does to its users: nightly restarts, farm flaps, lost connectivity, halts, delayed and displaced data.

Every message that the gateway sent must be in the session, and what it kept back must be counted by the fault that did it. Memory is what
`record` holds beside its mapped files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from commands import COMMAND

DAY_S, SESSION_S = 86_400, 23_400
OPTIONS = ["gateway.conflation_ms=250.3", "gateway.skip_s=120", "source.max_rows=0", "gateway.timeout_s=60"]


def script(session_s: int) -> str:
    """Faults of each day, at parts of its session; the restart comes in the night."""
    faults = [
        ("farm_flap", 0.05, "for_s: 4, data: true"), ("farm_flap", 0.15, "for_s: 4"), ("lost_1102", 0.25, "for_s: 5, data: true"),
        ("lost_1102", 0.35, "for_s: 5"), ("lost_1101", 0.45, "for_s: 5"), ("halt", 0.55, "for_s: 15, symbols: [S000]"),
        ("delayed", 0.65, "for_s: 15"), ("displaced", 0.75, "for_s: 5"), ("subscription_lost", 0.85, "symbols: [S001]"),
        ("restart", 1.0, "for_s: 20"),
    ]  # fmt: skip
    at = [f"{{kind: {kind}, at_s: {round(part * session_s) + (600 if part == 1.0 else 0)}, every_s: {DAY_S}, {more}}}" for kind, part, more in faults]
    return f"gateway.faults=[{','.join(at)}]"


class Memory(threading.Thread):
    """Anonymous memory of a process in MB, once a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.path, self.samples = Path(f"/proc/{pid}/status"), []  # type: tuple[Path, list[float]]

    def run(self) -> None:
        while True:
            try:
                lines = self.path.read_text().splitlines()
            except OSError:
                return
            self.samples += [int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")]
            time.sleep(1.0)


def record(folder: Path, days: int, symbols: int, speed: float, session_s: int = SESSION_S) -> dict[str, Any]:
    """Record so many days; what was sent, what is there, and the memory over time."""
    names = ",".join(f"S{i:03d}" for i in range(symbols))
    process = subprocess.Popen(
        [COMMAND, "record", "hydra.run.dir=out", f"universe.symbols=[{names}]", f"source.days={days}", f"source.duration_s={session_s}",
         f"gateway.speed={speed:g}", *OPTIONS, script(session_s)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    memory = Memory(process.pid)
    memory.start()
    said, _ = process.communicate()
    session = folder / "out" / "session"
    if process.returncode:
        raise RuntimeError(said)
    manifest = json.loads((session / "manifest.json").read_text())
    return {"said": said, "simulated": manifest["simulated"], "quality": json.loads((session / "quality.json").read_text()), "memory": memory.samples}


def account(found: dict[str, Any]) -> dict[str, int]:
    """Messages sent and received; `missing` has to be 0."""
    sent, got = found["simulated"]["clients"]["1"], found["quality"]
    out = {"sent": sent["messages"] + sent["side_frames"], "decoded": got["decoded"], "late": got["late"], "bad": got["bad"]}
    out["missing"] = out["sent"] - out["decoded"] - out["late"] - out["bad"]
    kept = sum(fault.get("messages", 0) for fault in found["simulated"]["faults"].values())
    return out | {"withheld": sent["withheld_messages"], "withheld_without_cause": sent["withheld_messages"] - kept}


def main(days: int = 5, symbols: int = 100, speed: float = 150.0) -> int:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        found = record(Path(folder), days, symbols, speed)
    print(found["said"])
    for kind, counts in found["simulated"]["faults"].items():
        print(f"{kind:20} {counts}")
    counts = account(found)
    print(counts)
    m = found["memory"]
    half = m[len(m) // 2 :]
    print("anonymous memory each minute, MB:", " ".join(f"{x:.0f}" for x in m[::60]))
    print(f"anonymous memory, MB: {max(m[: len(m) // 2]):.0f} in the first half, {max(half):.0f} in the second; {time.monotonic() - started:.0f} s")
    return int(counts["missing"] != 0 or counts["withheld_without_cause"] != 0)


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:])))
