"""Text to speech with espeak-ng, flite and festival, and the speech corpus made with them.

The corpus is append-only, so that a stopped run goes on where it was and readers can start early.
"""

import json
import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from antiphon.errors import AntiphonError, ConfigError
from antiphon.training.corpus_plan import DataTaskConfig, Utterance, plan_corpus
from antiphon.training.domain.pinyin import CHINESE, language_runs, to_pinyin
from antiphon.training.noises import NOISE, make_noise
from antiphon.training.voices import MANDARIN, Speaking, output_speaking

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
WORDS_PER_MINUTE = 165
TIMEOUT_S = 60
PEAK = 0.7
GAP_S = 0.08  # between an English and a Mandarin part of one answer
LETTER_A = re.compile(r"(?<=(?:fter|fore) )A\b")  # else flite reads it as the article
NOT_WRITTEN = {"language": "en", "pace": 1.0, "output": "", "context": ""}  # as data.Record has it
Pcm16 = npt.NDArray[np.int16]


def require_synthesisers() -> None:
    """Raise ConfigError naming the synthesiser programs that are not installed."""
    missing = [name for name in ("espeak-ng", "flite", "festival") if shutil.which(name) is None]
    if missing:
        raise ConfigError(
            f"speech synthesisers not found: {', '.join(missing)}; on Debian or Ubuntu run "
            "apt-get install espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k "
            "festvox-us-slt-hts"
        )


def command_for(text: str, speaking: Speaking, out: Path) -> list[str]:
    """Build the synthesiser's command line; festival reads a script beside `out`."""
    engine, _, voice = speaking.voice.partition(":")
    if engine == "espeak-ng":
        rate = round(WORDS_PER_MINUTE / speaking.stretch)
        if speaking.voice.startswith(MANDARIN):  # this voice reads syllables, not characters
            voice, text = voice.replace("cmn", "cmn-latn-pinyin"), to_pinyin(text)
        options = ["-v", voice, "-s", str(rate), "-p", str(speaking.pitch), "-w", str(out)]
        return ["espeak-ng", *options, "--", text]
    if engine == "flite":
        stretch = f"duration_stretch={speaking.stretch:.3f}"
        text = LETTER_A.sub("ay", text)
        return ["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", str(out)]
    if engine == "festival":
        script = out.with_suffix(".scm")
        quoted = text.replace("\\", " ").replace('"', " ")
        script.write_text(
            f"(voice_{voice})\n(Parameter.set 'Duration_Stretch {speaking.stretch:.3f})\n"
            f'(utt.save.wave (utt.synth (Utterance Text "{quoted}")) "{out}" \'riff)\n'
        )
        return ["festival", "-b", str(script)]
    raise ConfigError(
        f"unknown synthesiser {engine!r} in voice {speaking.voice!r}; "
        "use espeak-ng, flite or festival"
    )


def trim_silence(
    samples: npt.NDArray[np.float32], keep_s: float, rate: int
) -> npt.NDArray[np.float32]:
    """Cut leading and trailing silence (40 dB below the peak) down to `keep_s`."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max(initial=1e-9))
    if not len(loud):
        return samples
    keep = round(keep_s * rate)
    return samples[max(0, loud[0] - keep) : loud[-1] + keep]


def synthesise_text(text: str, speaking: Speaking, sample_rate: int = SAMPLE_RATE) -> Pcm16:
    """Say `text`.

    Returns:
        (n_samples,) int16 at `sample_rate`, silence at both ends cut to 60 ms.

    Raises:
        AntiphonError: If the synthesiser fails or says nothing.
    """
    engine, _, name = speaking.voice.partition(":")
    if engine == NOISE:
        return make_noise(name)
    with tempfile.TemporaryDirectory(prefix="antiphon-tts-") as folder:
        out = Path(folder) / "speech.wav"
        command = command_for(text, speaking, out)
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0 or not out.exists():
            reason = done.stderr.decode(errors="replace")[:200]
            raise AntiphonError(f"{command[0]} ({speaking.voice}) failed to say {text!r}: {reason}")
        samples, rate = soundfile.read(out, dtype="float32")
    samples = soxr.resample(samples, rate * speaking.warp, sample_rate)
    samples = trim_silence(samples, 0.06, sample_rate)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < 1e-3 or len(samples) < sample_rate // 20:
        raise AntiphonError(f"{speaking.voice} said nothing for {text!r}")
    return (samples * (PEAK / peak) * 32767).astype(np.int16)


def say(text: str, voice: str) -> npt.NDArray[np.float32]:
    """Say `text` in the plain voice "engine:name", (n_samples,) float32 at 16 kHz."""
    return synthesise_text(text, Speaking(voice)).astype(np.float32) / np.float32(32768)


def say_in_runs(utterance: Utterance) -> Pcm16:
    """Say an answer in its output voice, each language in its own, end to end."""
    parts: list[Pcm16] = []
    for run in language_runs(utterance.text):
        language = "zh" if CHINESE.match(run) else "en"
        parts.append(
            synthesise_text(run, output_speaking(utterance.output, language, utterance.pace))
        )
        parts.append(np.zeros(int(GAP_S * SAMPLE_RATE), np.int16))
    return np.concatenate(parts[:-1])


def speak(utterance: Utterance) -> tuple[Utterance, Pcm16 | None]:
    """Synthesise one utterance in a worker process; None when the synthesiser fails."""
    try:
        if utterance.output:
            return utterance, say_in_runs(utterance)
        return utterance, synthesise_text(utterance.text, utterance.speaking)
    except (AntiphonError, subprocess.TimeoutExpired) as error:
        logger.warning("skipped: %s", error)
        return utterance, None


def index_line(utterance: Utterance, start: int, n_samples: int) -> str:
    """Write the index line of one utterance."""
    record = asdict(utterance)
    speaking = record.pop("speaking")
    record |= {"voice": speaking["voice"], "start": start, "n": n_samples}
    record = {key: value for key, value in record.items() if value != NOT_WRITTEN.get(key)}
    return json.dumps(record, ensure_ascii=False) + "\n"


def known_ids(index: Path) -> Iterator[str]:
    """Yield the ids already in an index."""
    if index.exists():
        for line in index.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)["id"]


def synthesise(config: DataTaskConfig) -> None:
    """Make the corpus: `out`/audio.bin (int16, 16 kHz, end to end) and `out`/index.jsonl."""
    require_synthesisers()
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    audio_path, index_path = folder / "audio.bin", folder / "index.jsonl"
    done = set(known_ids(index_path))
    plan = [utterance for utterance in plan_corpus(config) if utterance.id not in done]
    logger.info("%d utterances to make, %d are there", len(plan), len(done))
    with (
        audio_path.open("ab") as audio,
        index_path.open("a", encoding="utf-8") as index,
        Pool(config.n_workers) as pool,
    ):
        for number, (utterance, pcm) in enumerate(
            pool.imap_unordered(speak, plan, chunksize=16), start=1
        ):
            if pcm is None:
                continue
            start = audio.tell() // 2
            audio.write(pcm.tobytes())
            audio.flush()
            index.write(index_line(utterance, start, len(pcm)))
            if number % 500 == 0:
                index.flush()
                logger.info("%d of %d utterances", number, len(plan))
    logger.info("corpus complete in %s", folder)
