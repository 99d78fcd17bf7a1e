"""Held-out answers are judged as they are practised: by their text alone, beyond any sound."""

from types import SimpleNamespace

import pytest
import torch

from antiphon.training.domain.table import find_domain
from antiphon.training.lm_validation import HeldOut


class Foreseeing:
    """A model that is sure of what really comes next, except where it is told to err."""

    device = torch.device("cpu")

    def __init__(self, n_ids, audio_0, errs):
        self.n_ids, self.audio_0, self.errs = n_ids, audio_0, errs
        self.n_sounds = []

    def __call__(self, ids):
        following = ids.roll(-1, 1)[0]
        self.n_sounds.append(int((ids >= self.audio_0).sum()))
        if self.errs:
            is_text = following < self.audio_0
            following = torch.where(is_text, (following + 1) % self.audio_0, following)
        return SimpleNamespace(logits=torch.nn.functional.one_hot(following, self.n_ids)[None])


@pytest.mark.parametrize(("errs", "share"), [(False, 1.0), (True, 0.0)])
def test_recited_counts_are_judged_over_sound_by_their_text(builder, tokenizer, errs, share):
    held_out = HeldOut.__new__(HeldOut)
    held_out.domain, held_out.builder = find_domain("full"), builder
    model = Foreseeing(tokenizer.vocab_size, tokenizer.layout.audio_0, errs)
    assert held_out.right_results(model, "count", 1) == share
    assert max(model.n_sounds) >= 26
    assert all(n % 26 == 0 for n in model.n_sounds)
