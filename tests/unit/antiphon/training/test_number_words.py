"""Number words lie in the order of their values, and stay there."""

import pytest
import torch

from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training import grammar
from antiphon.training.number_words import NumberWords, value_features
from antiphon.training.text_vocabulary import write_text_vocabulary

WIDTH = 32


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    words = [grammar.number_words(number) for number in range(100)]
    texts = [f"{word.capitalize()} and {word}" for word in words]
    write_text_vocabulary(folder, 20 * texts, 900, 32)
    return GlmTextTokenizer.from_pretrained(folder)


def distance(first, second):
    return torch.dist(torch.tensor(value_features(first)), torch.tensor(value_features(second)))


def test_neighbours_are_nearer_than_others():
    assert distance(4, 5) < distance(4, 6) < distance(4, 8)
    assert distance(50, 60) < distance(50, 80)


def test_words_of_tens_say_nothing_of_units():
    assert value_features(40)[:4] == [0.0] * 4
    assert value_features(7)[4:] == [0.0] * 4
    assert value_features(17)[:4] == value_features(7)[:4]
    assert value_features(10)[:4] == value_features(0)[:4]


def test_all_features_differ():
    words = {tuple(value_features(n)) for n in range(20)} | {
        tuple(value_features(n)) for n in range(20, 100, 10)
    }
    assert len(words) == 28


def test_pinned_rows_hold_their_values_and_others_stay(tokenizer):
    numbers = NumberWords(tokenizer, WIDTH)
    generator = torch.Generator().manual_seed(0)
    embeddings, head = torch.randn(2, tokenizer.vocab_size, WIDTH, generator=generator)
    before = embeddings.clone()
    numbers.pin(embeddings, head)
    forty, capital = tokenizer.encode(" forty")[0], tokenizer.encode("Forty")[0]
    assert not torch.equal(head[forty], head[capital])
    assert not torch.equal(head[forty], head[tokenizer.encode(" fifty")[0]])
    others = torch.ones(len(embeddings), dtype=torch.bool)
    others[numbers.ids] = False
    assert torch.equal(embeddings[others], before[others])
    assert len(numbers.ids) >= 28


def test_the_same_word_gets_the_same_place_every_time(tokenizer):
    first, second = NumberWords(tokenizer, WIDTH), NumberWords(tokenizer, WIDTH)
    assert torch.equal(first.vectors, second.vectors)


def test_chinese_digits_lie_where_their_values_do(tmp_path):
    digits = "零一二三四五六七八九"
    write_text_vocabulary(tmp_path, 50 * list(digits), 400, 4)
    chinese = GlmTextTokenizer.from_pretrained(tmp_path)
    numbers = NumberWords(chinese, WIDTH, has_mandarin=True)
    vectors = dict(zip(numbers.ids.tolist(), numbers.vectors, strict=True))
    rows = [vectors[chinese.encode(digit)[0]] for digit in digits]
    assert torch.dist(rows[4], rows[5]) < torch.dist(rows[4], rows[8])
