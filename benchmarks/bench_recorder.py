"""One chunk into the journal: copy, checksum and commit word, in one call. 1,460 bytes is a full TCP packet."""

import tempfile
import zlib
from pathlib import Path

import numpy as np


class Append:
    """A second thread zeroes segments ahead, as in a recording."""

    params = (150, 1460, 16384)
    param_names = ("bytes",)

    def setup(self, n):
        from tickarrow.pipeline.batch import Chunk
        from tickarrow.pipeline.prepare import warm_kernels
        from tickarrow.pipeline.recorder import Journal

        warm_kernels()
        self.folder = tempfile.TemporaryDirectory()
        self.journal = Journal(Path(self.folder.name))
        self.chunk = Chunk(np.random.default_rng(1).integers(0, 256, n + 67, np.uint8), 3, n + 3, 1_767_623_400_000_000_000, 0)
        for _ in range(1000):
            self.time_append(n)

    def time_append(self, n):
        self.chunk.number += 1
        self.journal.append(self.chunk)

    def teardown(self, n):
        self.journal.close()
        self.folder.cleanup()


class Crc32:
    """The checksum alone, by zlib from Python: what the journal's own is measured against."""

    params = (150, 1460, 16384)
    param_names = ("bytes",)

    def setup(self, n):
        self.data = memoryview(np.random.default_rng(1).bytes(n + 67))

    def time_zlib(self, n):
        zlib.crc32(self.data[3 : n + 3])
