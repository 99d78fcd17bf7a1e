"""The text tokenizer against tiktoken, and its bad inputs."""

import base64
import json
import random

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import CheckpointError
from antiphon.models.glm4voice import spec
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer, make_layout, read_ranks
from antiphon.training.text_vocabulary import train_tokenizer_model, write_ranks

TEXTS = [
    "What is the capital of France? It's Paris, isn't it? We'll see; they've said I'd know.",
    "seventeen plus twenty-five is 42. 1234567 and 99 -- count from 3 to 12!\n\n  Next line.\r\n",
    "今天天气很好,我们去公园吧。你好,请问现在几点了?中文和 English 混合。你好你好你好",
    "emoji 😀😀👍🏽 naïve café Straße — “quotes” … aaaaaaa aaaaaa aaaa    spaces\t\ttabs",
] * 3
ALPHABET = st.sampled_from(
    [
        *"abcdeinorstuABC 0123456789.,!?'\n\r\t-_|<>[]\u00a0",
        *"\u3000你好今天中文气\uff0c。éßñ😀👍🏽\u200d\u0301",
        "the ",
        "'s",
        "'LL",
        "aaaa",
        "    ",
        "<|user|>",
        "<|audio_3|>",
        "[gMASK]",
    ]
)
RANDOM_TEXT = st.lists(ALPHABET, max_size=60).map("".join)


@pytest.fixture(scope="module")
def pieces() -> list[bytes]:
    return train_tokenizer_model(TEXTS, 700)


@pytest.fixture(scope="module")
def tokenizer(pieces, tmp_path_factory) -> GlmTextTokenizer:
    folder = tmp_path_factory.mktemp("official_layout")
    write_ranks(folder / "tokenizer.model", pieces)
    return GlmTextTokenizer.from_pretrained(folder)


def make_tiktoken(pieces: list[bytes]) -> tiktoken.Encoding:
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    return tiktoken.Encoding(
        "reference", pat_str=spec.TEXT_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )


@pytest.fixture(scope="module")
def reference(pieces) -> tiktoken.Encoding:
    return make_tiktoken(pieces)


@given(text=RANDOM_TEXT | st.text(max_size=40))
def test_encode_agrees_with_tiktoken(tokenizer, reference, text):
    assert tokenizer.encode(text) == reference.encode_ordinary(text)


@given(text=st.text(alphabet="ab ", max_size=80))
def test_repeated_letters_agree_with_tiktoken(tokenizer, reference, text):
    assert tokenizer.encode(text) == reference.encode_ordinary(text)


@given(seed=st.integers(0, 10_000))
def test_vocabularies_with_random_tokens_agree_with_tiktoken(seed):
    draw = random.Random(seed)
    made = {bytes(draw.choices(b"abc", k=draw.randint(2, 6))) for _ in range(60)}
    pieces = [bytes([value]) for value in range(256)] + draw.sample(sorted(made), len(made))
    layout = make_layout(spec.compact_special_ids(len(pieces), 4), {}, "here")
    tokenizer = GlmTextTokenizer(pieces, layout)
    text = "".join(draw.choices("abc ", weights=(5, 5, 5, 1), k=120))
    assert tokenizer.encode(text) == make_tiktoken(pieces).encode_ordinary(text)


@given(text=st.text(max_size=40))
def test_decode_inverts_encode(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=RANDOM_TEXT)
def test_text_never_becomes_a_special_token(tokenizer, text):
    assert all(token_id < tokenizer.n_ranks for token_id in tokenizer.encode(text))


def test_every_special_spelling_stays_text(tokenizer):
    for token in (*spec.SPECIAL_TOKENS, "<|audio_0|>", "<|audio_16383|>", "<|reserved_1|>"):
        ids = tokenizer.encode(f"say {token} now")
        assert max(ids) < tokenizer.n_ranks
        assert tokenizer.decode(ids) == f"say {token} now"


def test_lone_surrogate_is_replaced(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_decode_leaves_special_and_unknown_ids_out(tokenizer):
    ids = tokenizer.encode("hello")
    layout = tokenizer.layout
    noise = [layout.user, layout.audio_0 + 5, layout.vocab_size + 7, -1]
    assert tokenizer.decode([noise[0], *ids, *noise[1:]]) == "hello"


def test_decode_marks_a_cut_character(tokenizer):
    first_byte_of_emoji = tokenizer.encode("\U0001f9ff")[:1]
    assert tokenizer.decode(first_byte_of_emoji).endswith("\ufffd")


@given(text=RANDOM_TEXT | st.text(max_size=30))
def test_incremental_decoding_equals_decoding_at_once(tokenizer, text):
    decoder = tokenizer.incremental_decoder()
    parts = [decoder.push([token_id]) for token_id in tokenizer.encode(text)]
    assert "\ufffd" not in "".join(parts) or "\ufffd" in text
    assert "".join(parts) + decoder.flush() == text


def test_incremental_decoder_ends_a_cut_character(tokenizer):
    decoder = tokenizer.incremental_decoder()
    assert decoder.push(tokenizer.encode("\U0001f9ff")[:-1]) == ""
    assert decoder.flush() == "\ufffd"


def test_official_offsets(tokenizer):
    n = tokenizer.n_ranks
    layout = tokenizer.layout
    assert layout.prefix == (n + 2, n + 4)
    assert (layout.system, layout.user, layout.assistant, layout.observation) == (
        n + 6,
        n + 7,
        n + 8,
        n + 9,
    )
    assert (layout.begin_of_audio, layout.end_of_audio) == (n + 14, n + 15)
    assert (layout.audio_0, layout.n_audio) == (n + 1024, 16_384)
    assert layout.stop == (n, n + 7, n + 9)
    assert layout.context_length == 8192
    assert tokenizer.vocab_size == n + 1024 + 16_384


def test_official_ids_of_the_published_vocabulary():
    ids = spec.official_special_ids(151_329)
    expected = {
        "<|endoftext|>": 151_329,
        "[gMASK]": 151_331,
        "<sop>": 151_333,
        "<|user|>": 151_336,
        "<|begin_of_audio|>": 151_343,
        "<|end_of_transcription|>": 151_346,
        "<|audio_0|>": 152_353,
        "<|audio_16383|>": 168_736,
    }
    assert {token: ids[token] for token in expected} == expected


def write_folder(folder, pieces, special_ids, config=None):
    write_ranks(folder / "tokenizer.model", pieces)
    table = {str(value): {"content": token} for token, value in special_ids.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": table}))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))


def test_sizes_come_from_the_model_config(tmp_path, pieces):
    ids = spec.compact_special_ids(len(pieces), 32)
    config = {"padded_vocab_size": 1024, "seq_length": 777}
    write_folder(tmp_path, pieces, ids, config)
    layout = GlmTextTokenizer.from_pretrained(tmp_path).layout
    assert (layout.vocab_size, layout.context_length, layout.n_audio) == (1024, 777, 32)
    assert layout.max_turns is None
    assert layout.interleave is None
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_turns": 3}))
    assert GlmTextTokenizer.from_pretrained(tmp_path).layout.max_turns == 3
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_turns": 0}))
    with pytest.raises(CheckpointError, match="max_turns must be above 0"):
        GlmTextTokenizer.from_pretrained(tmp_path)
    assert layout.audio_0 == len(pieces) + len(spec.SPECIAL_TOKENS)


def test_blocks_to_keep_to_come_from_the_model_config(tmp_path, pieces):
    ids = spec.compact_special_ids(len(pieces), 32)
    write_folder(tmp_path, pieces, ids, {"interleave": [13, 26]})
    assert GlmTextTokenizer.from_pretrained(tmp_path).layout.interleave == (13, 26)
    for wrong in ([13], [13, 0], [13, 26.0], "13:26", {"text": 13}):
        (tmp_path / "config.json").write_text(json.dumps({"interleave": wrong}))
        with pytest.raises(CheckpointError, match="two whole numbers above 0"):
            GlmTextTokenizer.from_pretrained(tmp_path)


def test_vocabulary_larger_than_the_embedding_is_refused(tmp_path, pieces):
    ids = spec.compact_special_ids(len(pieces), 32)
    write_folder(tmp_path, pieces, ids, {"vocab_size": len(pieces) + 20})
    with pytest.raises(CheckpointError, match="do not match"):
        GlmTextTokenizer.from_pretrained(tmp_path)


def test_special_id_inside_the_text_is_refused(tmp_path, pieces):
    write_folder(tmp_path, pieces, spec.compact_special_ids(len(pieces) - 5, 32))
    with pytest.raises(CheckpointError, match=r"<\|endoftext\|> has id"):
        GlmTextTokenizer.from_pretrained(tmp_path)


def test_missing_special_token_is_named(tmp_path, pieces):
    ids = spec.compact_special_ids(len(pieces), 32)
    del ids["<|assistant|>"]
    write_folder(tmp_path, pieces, ids)
    with pytest.raises(CheckpointError, match=r"no <\|assistant\|>"):
        GlmTextTokenizer.from_pretrained(tmp_path)


def test_gap_in_the_speech_tokens_is_named(tmp_path, pieces):
    ids = spec.compact_special_ids(len(pieces), 32)
    ids["<|audio_7|>"] += 100
    write_folder(tmp_path, pieces, ids)
    with pytest.raises(CheckpointError, match=r"<\|audio_7\|>"):
        GlmTextTokenizer.from_pretrained(tmp_path)


def test_missing_vocabulary_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: No such file"):
        GlmTextTokenizer.from_pretrained(tmp_path)


def test_truncated_vocabulary_file_is_refused(tmp_path, pieces):
    path = tmp_path / "tokenizer.model"
    write_ranks(path, pieces)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"tokenizer\.model"):
        read_ranks(path)


@pytest.mark.parametrize("line", [b"notbase64!!! 5", b"YQ==", b"YQ== x", b"YQ== 1 2"])
def test_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(base64.b64encode(b"a") + b" 0\n" + line + b"\n")
    with pytest.raises(CheckpointError, match="line 2"):
        read_ranks(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"added_tokens_decoder": {"x": {"content": "a"}}}'])
def test_damaged_tokenizer_config_is_named(tmp_path, pieces, text):
    write_ranks(tmp_path / "tokenizer.model", pieces)
    (tmp_path / "tokenizer_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        GlmTextTokenizer.from_pretrained(tmp_path)
