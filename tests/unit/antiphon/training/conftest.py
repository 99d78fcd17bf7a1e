"""What tests of training data share: a small vocabulary, and a builder of exchanges."""

import pytest

from tests.small_vocabulary import small_builder, small_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return small_tokenizer(tmp_path_factory.mktemp("vocabulary"))


@pytest.fixture
def builder(tokenizer):
    return small_builder(tokenizer)
