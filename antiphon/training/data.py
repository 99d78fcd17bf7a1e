"""Reads the speech corpus (see synthesis.py) and the speech tokens made from it. Knows no model."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from antiphon.errors import ConfigError

SAMPLE_RATE = 16_000
VERSION_MARK = "~"  # in the key of codes of an utterance that was heard once more
Float32 = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Record:
    """One utterance of the corpus; `start` and `n` count samples of audio.bin.

    The rest is as in corpus_plan.Utterance; what an older corpus lacks has the usual value.
    """

    id: str
    text: str
    voice: str
    skill: str
    role: str
    split: str
    start: int
    n: int
    answer: str = ""
    language: str = "en"
    pace: float = 1.0
    output: str = ""
    context: str = ""


class SpeechCorpus:
    """The utterances that are complete on disk when the corpus is opened."""

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder)
        if not (path / "index.jsonl").exists():
            raise ConfigError(f"no speech corpus in {path}: run `antiphon train data` first")
        self.audio = np.memmap(path / "audio.bin", dtype=np.int16, mode="r")
        lines = (path / "index.jsonl").read_text(encoding="utf-8").splitlines()
        records = (self._parse(line) for line in lines)
        self.records = [r for r in records if r is not None and r.start + r.n <= len(self.audio)]

    @staticmethod
    def _parse(line: str) -> Record | None:
        """Read one index line; None for a line that is still being written."""
        try:
            return Record(**json.loads(line))
        except json.JSONDecodeError:
            return None

    def select(self, role: str | None = None, split: str = "train") -> list[Record]:
        """List the records of a role ("question", "answer"; None for both) and split."""
        return [r for r in self.records if r.split == split and role in (None, r.role)]

    def waveform(self, record: Record) -> Float32:
        """Read one utterance, (n_samples,) float32 in [-1, 1] at 16 kHz."""
        return self.audio[record.start : record.start + record.n].astype(np.float32) / 32768.0


def version_key(record_id: str, version: int) -> str:
    """Name the codes of an utterance as it is heard for the first time (0) or once more."""
    return f"{record_id}{VERSION_MARK}{version}" if version else record_id


def versions_of(codes: Mapping[str, Codes]) -> dict[str, list[Codes]]:
    """Gather the codes of each utterance, however often it was heard."""
    found: dict[str, list[Codes]] = {}
    for key, values in codes.items():
        found.setdefault(key.partition(VERSION_MARK)[0], []).append(values)
    return found


class CodeStore:
    """Speech tokens of a corpus: `codes.bin` (int16, end to end) and `codes.jsonl`."""

    def __init__(self, folder: str | Path) -> None:
        self.bin_path, self.index_path = Path(folder) / "codes.bin", Path(folder) / "codes.jsonl"

    def load(self) -> dict[str, npt.NDArray[np.int16]]:
        """Read everything that is there: utterance id -> (n_tokens,) codes."""
        if not self.index_path.exists():
            return {}
        codes = np.fromfile(self.bin_path, dtype=np.int16)
        found = {}
        for line in self.index_path.read_text(encoding="utf-8").splitlines():
            if line.endswith("}"):
                entry = json.loads(line)
                if entry["start"] + entry["n"] <= len(codes):
                    found[entry["id"]] = codes[entry["start"] : entry["start"] + entry["n"]]
        return found

    def append(self, items: Iterable[tuple[str, npt.NDArray[np.int16]]]) -> None:
        """Add (id, codes) pairs at the end."""
        with self.bin_path.open("ab") as data, self.index_path.open("a", encoding="utf-8") as index:
            for key, codes in items:
                start = data.tell() // 2
                data.write(codes.astype(np.int16).tobytes())
                data.flush()
                index.write(json.dumps({"id": key, "start": start, "n": len(codes)}) + "\n")


def length_batches(
    records: list[Record], seconds: float, rng: np.random.Generator, pool: int = 512
) -> Iterator[list[Record]]:
    """Yield batches of alike lengths for ever, each at most `seconds` of padded audio."""
    budget = int(seconds * SAMPLE_RATE)
    while True:
        chosen = [records[i] for i in rng.permutation(len(records))]
        for first in range(0, len(chosen), pool):
            batches = list(_cut(sorted(chosen[first : first + pool], key=lambda r: r.n), budget))
            for index in rng.permutation(len(batches)):
                yield batches[index]


def _cut(ordered: list[Record], budget: int) -> Iterator[list[Record]]:
    """Cut records sorted by length into batches whose padded size stays within the budget."""
    batch: list[Record] = []
    for record in ordered:
        if batch and record.n * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(record)
    if batch:
        yield batch
