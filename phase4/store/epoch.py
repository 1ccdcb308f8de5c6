"""The doorbell: 64 bytes in shared memory that every evaluator looks at, so that a change is seen without a query.

Word 0 is the last committed version of the control database, word 1 says "stop all". The epoch is a hint, the database
is the truth: readers load again when word 0 *differs* from what they saw, since a late writer may put it back.
"""

from __future__ import annotations

import mmap
import os

SIZE = 64


class Epoch:
    """The mapped words. The file is made once and never shortened: a shrunk mapping ends its readers."""

    def __init__(self, path: str) -> None:
        """Map the file, making it where it is not there.

        Raises:
            OSError: it cannot be made or mapped.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(handle).st_size < SIZE:
                os.pwrite(handle, b"\x00", SIZE - 1)
            self._map = mmap.mmap(handle, SIZE)
        finally:
            os.close(handle)
        self.words = memoryview(self._map).cast("Q")
        """(8,) uint64, live."""

    @property
    def version(self) -> int:
        """The last committed version."""
        return self.words[0]

    @property
    def is_stopped(self) -> bool:
        """Whether everything is to be off, whatever the database says."""
        return self.words[1] != 0

    def ring(self, version: int) -> None:
        """Tell every reader that there is a new version."""
        self.words[0] = version

    def nudge(self) -> None:
        """Make every reader load again, whatever the version is: a stop file came or went."""
        self.words[0] = (self.words[0] + (1 << 32)) % (1 << 64)

    def stop(self) -> None:
        """Switch everything off for every reader."""
        self.words[1] = 1

    def clear(self) -> None:
        """Let the database and the stop files decide again."""
        self.words[1] = 0

    def close(self) -> None:
        """Unmap the file."""
        self.words.release()
        self._map.close()
