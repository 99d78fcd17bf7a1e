"""A file with one JSON line for each event of a call, for people who look for a mistake."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from antiphon.errors import AntiphonError
from antiphon.talk.call_settings import Fields


class EventLog:
    """Writes events as they come; without a path it writes nothing. Leaving it closes the file.

    Each line holds `t` (seconds since the log began), `from` (client or server), the event and,
    where sound came with it, `n_samples`.

    Raises:
        AntiphonError: If the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        """Make the file, or an empty log."""
        self._start = time.monotonic()
        try:
            self._file = path.open("w", encoding="utf-8") if path is not None else None
        except OSError as error:
            raise AntiphonError(f"--log {path}: cannot write it: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, sender: str, event: Fields, n_samples: int | None = None) -> None:
        """Append one event."""
        if self._file is None:
            return
        row: dict[str, object] = {"t": round(time.monotonic() - self._start, 4), "from": sender}
        if n_samples is not None:
            row["n_samples"] = n_samples
        self._file.write(json.dumps({**row, "event": event}, ensure_ascii=False) + "\n")
        self._file.flush()
