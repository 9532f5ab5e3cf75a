"""Run the installed command for tests; shared by the tests of whole commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("tickarrow"))
# A bank that trains in seconds, on little data; the same for all tests, so it is trained once.
SMALL = ["training=tiny", "training_source.max_rows=20000"]
# Orders at every time of the day: a gateway that is not the run's own is at the time of the wall.
ANYTIME = ["risk.limits.calendar=", "risk.limits.restart=[]"]
# A start may compile every kernel first: with checked bounds and one of two busy cores that took 200 s.
START_S = 900.0


def as_in_foreground() -> None:
    """For `preexec_fn`: Ctrl-C is heard also where the tests are a background job, which ignores it and whose children do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def as_in_background() -> None:
    """For `preexec_fn`: what a shell without job control does to what it starts with `&`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def tickarrow(*args: str, cwd: Path, timeout: float = START_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *args], cwd=cwd, capture_output=True, text=True, timeout=timeout, env=os.environ | {"COLUMNS": "200"})


def output(cwd: Path, command: str = "run") -> Path:
    """Newest output directory of a command."""
    return max((cwd / "outputs" / command).glob("*/*"), key=lambda p: p.stat().st_mtime)


def run(*args: str, cwd: Path, timeout: float = START_S) -> tuple[dict[str, Any], Path]:
    """`tickarrow run`: its summary and its session directory."""
    done = tickarrow("run", *args, cwd=cwd, timeout=timeout)
    assert done.returncode == 0, done.stderr[-4000:]
    where = output(cwd)
    return json.loads((where / "summary.json").read_text()), where / "session"
