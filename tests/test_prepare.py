"""What commands do before they start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from commands import as_in_foreground

# The process that compiles and the one that it starts, as jit/_kernel.py does; each says that it is there, and would work for long.
COMPILES = """
import os, time
from rich.console import Console
from tickarrow.pipeline import prepare

def warm(console):
    if os.fork():
        print(os.getpid(), flush=True)
    else:
        time.sleep(0.5)
        print(os.getpid(), flush=True)
    time.sleep(300)

prepare._show_warming = warm
prepare._compile_in_child(Console())
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_what_compiles_ends_with_the_command_however_that_ends(sent):
    command = subprocess.Popen(
        [sys.executable, "-c", COMPILES], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=as_in_foreground
    )
    assert command.stdout is not None
    compiling = [int(command.stdout.readline()) for _ in range(2)]
    command.send_signal(sent)
    try:
        command.communicate(timeout=30)  # the end of the pipe: nobody has it any more
    finally:
        for pid in compiling:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert command.returncode == -sent
