"""extract_speech_token: the original's call, with files and tuples, own and foreign features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from antiphon.audio import write_wav
from antiphon.errors import AudioError
from speech_tokenizer import SpeechTokenizer
from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.modeling_whisper import WhisperVQEncoder
from speech_tokenizer.utils import extract_speech_token


@pytest.fixture(scope="module")
def model() -> WhisperVQEncoder:
    torch.manual_seed(3)
    config = WhisperVQConfig(
        d_model=16,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        num_mel_bins=80,
        pooling_position=1,
        quantize_position=1,
        quantize_vocab_size=32,
    )
    return WhisperVQEncoder(config).eval()


def pcm(n_samples: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(0, 3000, n_samples)
    return drawn.astype(np.int16).astype(np.float32) / 32768


def test_files_and_tuples_give_lists_of_ids(model: WhisperVQEncoder, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", pcm(30_000), 16_000)
    from_file, from_tuple = extract_speech_token(
        model, None, [str(tmp_path / "a.wav"), (torch.from_numpy(pcm(30_000))[None], 16_000)]
    )
    assert from_file == from_tuple
    assert all(isinstance(token, int) for token in from_file)
    assert len(from_file) == -(-30_000 // 1280)


def test_agrees_with_transformers_features_and_with_the_tokenizer(model: WhisperVQEncoder) -> None:
    waveforms = [pcm(5_001), pcm(20_000, seed=1), pcm(480_123, seed=2)]
    utterances = [(waveform, 16_000) for waveform in waveforms]
    own = extract_speech_token(model, None, utterances)
    assert own == extract_speech_token(model, WhisperFeatureExtractor(feature_size=80), utterances)
    alone = [SpeechTokenizer(model).encode(waveform, 16_000).tolist() for waveform in waveforms]
    assert own == alone
    assert len(own[2]) == 376


def test_the_first_channel_counts_always(model: WhisperVQEncoder) -> None:
    stereo = np.stack([0 * pcm(4000), pcm(4000)])
    silent = extract_speech_token(model, None, [(np.zeros(4000, np.float32), 16_000)])
    assert extract_speech_token(model, None, [(stereo, 16_000)]) == silent


def test_other_rates_are_converted(model: WhisperVQEncoder) -> None:
    assert len(extract_speech_token(model, None, [(pcm(48_000), 48_000)])[0]) == 13


def test_empty_audio_gives_no_ids(model: WhisperVQEncoder) -> None:
    found = extract_speech_token(model, None, [(torch.zeros(1, 0), 16_000), (pcm(10), 16_000)])
    assert [len(ids) for ids in found] == [0, 1]
    assert extract_speech_token(model, None, []) == []


def test_unusable_audio_is_refused(model: WhisperVQEncoder, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="shape"):
        extract_speech_token(model, None, [(torch.zeros(0, 5), 16_000)])
    with pytest.raises(AudioError, match="not numbers"):
        extract_speech_token(model, None, [(torch.tensor([float("nan")]), 16_000)])
    with pytest.raises(AudioError, match="cannot open"):
        extract_speech_token(model, None, [tmp_path / "none.wav"])
