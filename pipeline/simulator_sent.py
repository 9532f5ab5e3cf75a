"""When the simulated gateway sent what: the clock against which a client's latency is measured from outside.

The gateway never waits for a client that reads, so its stamps know of every delay behind them, also of what had to queue."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.errors import ConfigError

ROW = struct.Struct("<qq")


class SentLog:
    """A file with a row a write to the first client: the time (ns UTC) just before it, and the bytes written so far, this write included."""

    def __init__(self, path: str) -> None:
        try:
            self._file = Path(path).open("wb")  # noqa: SIM115 - open as long as the gateway
        except OSError as e:
            why = os.strerror(e.errno or 0)
            raise ConfigError(f"gateway.sent_log is {path!r}, which cannot be written ({why}). Name a file in a folder that exists.") from None
        self._bytes = 0

    def note(self, n_bytes: int) -> None:
        """So many bytes are about to be written."""
        self._bytes += n_bytes
        self._file.write(ROW.pack(time.time_ns(), self._bytes))

    def close(self) -> None:
        self._file.close()


def read_sent(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Times (ns UTC) and bytes so far, (n,) int64 each, a row a write. The first write is the answer of the handshake."""
    rows = np.fromfile(path, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]
