"""Where speech loses its words on the way back from tokens: what a recogniser still understands.

    python benchmarks/resynthesis.py resources/embedded/decoder --data data/speech

Takes recorded answers of each skill and judges the recording, the vocoder on the recording's own
mel, the encoder's mel from the recording's tokens, and the whole decoder on the same tokens.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from antiphon.audio import resample
from antiphon.evaluation.judge import Judge
from antiphon.evaluation.report import describe_machine
from antiphon.training import grammar
from antiphon.training.data import CodeStore, Record, SpeechCorpus
from antiphon.training.vocoder_data import log_mel
from flow_inference import AudioDecoder

STAGES = ("recording", "vocoder on the recording's mel", "encoder's mel", "whole decoder")


def draw_records(corpus: SpeechCorpus, known: set[str], per_skill: int) -> list[Record]:
    """Draw recorded answers that have tokens, as many of each skill."""
    rng = random.Random(4)
    answers = [r for r in corpus.select("answer") if r.id in known]
    by_skill = [[r for r in answers if r.skill == skill] for skill in sorted(grammar.SKILLS)]
    return [r for records in by_skill for r in rng.sample(records, min(per_skill, len(records)))]


@torch.inference_mode()
def stages(decoder: AudioDecoder, recording: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """Make the sound of each stage after the recording, (n,) at the decoder's rate."""
    rate = decoder.sample_rate
    sound = torch.from_numpy(resample(recording, 16_000, rate))
    tokens = torch.from_numpy(codes.astype(np.int64))
    speaker = torch.zeros(1, decoder.flow.spk_embed_affine_layer.in_features)
    given = decoder.flow.condition(tokens[None], torch.tensor([len(tokens)]), speaker)

    def voice(mel: Tensor) -> np.ndarray:
        generator = torch.Generator().manual_seed(1)
        return np.asarray(decoder.hift(mel, generator=generator)[0].numpy(), np.float32)

    own_mel = log_mel(sound[None, : len(sound) // 256 * 256])
    return [voice(own_mel), voice(given.mu), decoder.decode(tokens.tolist()).numpy()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="corpus with its codes")
    parser.add_argument("--per-skill", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/resynthesis.json"))
    options = parser.parse_args()
    decoder, judge = AudioDecoder.from_pretrained(options.decoder), Judge()
    corpus, codes = SpeechCorpus(options.data), CodeStore(options.data).load()
    records = draw_records(corpus, set(codes), options.per_skill)
    by_skill = {record.skill: dict.fromkeys(STAGES, 0) for record in records}
    for record in records:
        recording = corpus.waveform(record)
        sounds = [recording, *stages(decoder, recording, codes[record.id])]
        rates = [16_000, *[decoder.sample_rate] * 3]
        for stage, sound, rate in zip(STAGES, sounds, rates, strict=True):
            heard = judge.transcribe(sound, rate, record.skill)
            by_skill[record.skill][stage] += heard == grammar.normalise(record.text)
    understood = {stage: sum(skill[stage] for skill in by_skill.values()) for stage in STAGES}
    report = {
        "what": "recorded answers that the judge understands after each stage of the way back",
        "command": f"python benchmarks/resynthesis.py {options.decoder} --data CORPUS "
        f"--per-skill {options.per_skill}",
        "machine": describe_machine(),
        "answers": len(records),
        "understood": understood,
        "by_skill": by_skill,
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
