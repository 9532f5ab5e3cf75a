"""The README's two commands, run as they stand in a copy of the project; the test command only collects."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    python3 -m venv")]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The files git tracks, elsewhere, with a cache of their own."""
    folder = tmp_path_factory.mktemp("readme")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def shell(command, cwd):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "PYTEST_"))} | {"TICKARROW_CACHE": str(cwd / "cache"), "COLUMNS": "200"}
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, env=env, timeout=1200)


def test_there_are_two_commands():
    assert len(COMMANDS) == 2
    assert COMMANDS[0].endswith("tickarrow run")
    assert COMMANDS[1].endswith("pytest")


@pytest.mark.slow
def test_the_first_command_installs_and_ends_with_the_table(copy):
    done = shell(COMMANDS[0], copy)
    assert done.returncode == 0, done.stderr[-4000:]
    shown = [line.split()[0] for line in re.search(r"```\n(.*?)```", README, re.S).group(1).splitlines() if line.strip()]
    printed = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert printed[printed.index("ticks") :] == shown
    (summary,) = copy.glob("outputs/run/*/*/summary.json")
    said = json.loads(summary.read_text())
    assert said["quotes"] == said["sent_updates"] > 10_000
    assert said["orders"] > 0
    assert said["fills"] > 0


@pytest.mark.slow
def test_the_second_command_installs_and_collects_the_tests(copy):
    done = shell(f"{COMMANDS[1]} --collect-only -q", copy)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "test_readme.py" in done.stdout
