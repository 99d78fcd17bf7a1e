"""The trained text vocabulary: official file format, usable by the loader and by tiktoken."""

import pytest
from tiktoken.load import load_tiktoken_bpe

from antiphon.errors import ConfigError
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.text_vocabulary import train_tokenizer_model, write_text_vocabulary

TEXTS = [f"What is {a} plus {b}? It is {a + b}." for a in range(30) for b in range(30)]


def test_written_vocabulary_loads_and_is_compact(tmp_path):
    n_ids = write_text_vocabulary(tmp_path, TEXTS, n_ranks=400, n_audio=64)
    tokenizer = GlmTextTokenizer.from_pretrained(tmp_path)
    assert tokenizer.vocab_size == n_ids == tokenizer.n_ranks + 18 + 64
    assert tokenizer.layout.audio_0 == n_ids - 64
    text = "What is 3 plus 4? 你好"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_words_of_the_domain_become_single_tokens(tmp_path):
    write_text_vocabulary(tmp_path, TEXTS, n_ranks=400, n_audio=4)
    tokenizer = GlmTextTokenizer.from_pretrained(tmp_path)
    assert [tokenizer.decode([i]) for i in tokenizer.encode("What is plus")] == [
        "What",
        " is",
        " plus",
    ]


def test_file_is_readable_by_tiktoken(tmp_path):
    write_text_vocabulary(tmp_path, TEXTS, n_ranks=300, n_audio=4)
    ranks = load_tiktoken_bpe(str(tmp_path / "tokenizer.model"))
    assert sorted(ranks.values()) == list(range(len(ranks)))


def test_training_is_deterministic():
    assert train_tokenizer_model(TEXTS, 320) == train_tokenizer_model(TEXTS, 320)


def test_fewer_tokens_when_the_texts_have_no_more_pairs():
    assert len(train_tokenizer_model(["abab"], 1000)) < 300


def test_too_few_ranks_are_refused():
    with pytest.raises(ConfigError, match="at least 256"):
        train_tokenizer_model(TEXTS, 100)


def test_a_chinese_character_is_at_most_one_token(tmp_path):
    write_text_vocabulary(
        tmp_path, 50 * ["七加二等于九。", "九加七等于十六。"], n_ranks=400, n_audio=4
    )
    tokenizer = GlmTextTokenizer.from_pretrained(tmp_path)
    assert [tokenizer.decode([i]) for i in tokenizer.encode("七加九")] == ["七", "加", "九"]
