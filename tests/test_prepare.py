"""What commands do before they start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from commands import as_in_foreground

# Kernels that take for ever: the process that compiles and the one that begins at the end say that they are there.
COMPILES = """
import os, time
from rich.console import Console
from tickarrow.jit import _kernel
from tickarrow.pipeline import prepare

class Slow:
    def compile(self, arguments):
        print(os.getpid(), flush=True)
        time.sleep(300)

_kernel._registry[:], _kernel._warmed, _kernel.SLOW_S = [(name, Slow(), ()) for name in "abcd"], 0, -1.0
os.sched_getaffinity = lambda pid: {0, 1}
prepare._show_warming = lambda console: _kernel.warm()
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
