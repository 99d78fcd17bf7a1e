"""What is known of old speech tokens goes to those that stand in their places."""

import numpy as np
import pytest
import torch

from antiphon.errors import ConfigError
from antiphon.training.code_carrying import rows_to_start, shared_places
from antiphon.training.data import CodeStore
from antiphon.training.task import TaskConfig


def codes(*values):
    return np.array(values, dtype=np.int16)


def test_shares_tell_which_old_token_stood_where():
    old = {"a": codes(0, 1, 1, 2), "b": codes(2, 2), "c": codes(0)}
    new = {"a": codes(3, 0, 0, 1), "b": codes(1, 0), "c": codes(3, 3), "d": codes(2)}
    shares = shared_places(old, new, n_old=3, n_new=4)
    expected = [[0, 2 / 3, 1 / 3], [0, 0, 1], [1 / 6, 2 / 6, 3 / 6], [1, 0, 0]]
    torch.testing.assert_close(shares, torch.tensor(expected))  # "c" is of two lengths


def test_no_utterance_in_common_is_told():
    with pytest.raises(ConfigError, match="old_codes has none of the utterances"):
        shared_places({"a": codes(0)}, {"b": codes(0)}, 2, 2)


def test_the_settings_say_what_is_known_at_first(tmp_path):
    known, fresh = torch.eye(2), torch.full((2, 2), 9.0)
    for name, token in (("old", 0), ("data", 1)):
        (tmp_path / name).mkdir()
        CodeStore(tmp_path / name).append([("a", codes(token, token))])
    config = TaskConfig(data=str(tmp_path / "data"))
    assert rows_to_start(known, fresh, config, 2) is known
    assert rows_to_start(known, fresh, TaskConfig(new_codes=True), 2) is fresh
    carrying = TaskConfig(data=config.data, old_codes=str(tmp_path / "old"))
    rows = rows_to_start(known.half(), fresh, carrying, 2)
    assert rows.dtype == torch.float16
    assert rows.tolist() == [[1.0, 0.0], [1.0, 0.0]]
