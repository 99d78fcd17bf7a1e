"""Each target costs what it should: a token itself, any sound the sum of all speech tokens."""

import torch

from antiphon.training.lm_data import ANY_SOUND
from antiphon.training.lm_loss import token_losses, token_weights
from tests.dialogue_fakes import LAYOUT

AUDIO_0, N_CODES = 4, 3


def random_logits() -> torch.Tensor:
    return 2 * torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


def test_a_token_costs_its_cross_entropy_and_any_sound_that_of_all() -> None:
    logits, targets = random_logits(), torch.tensor([2, ANY_SOUND, 5, ANY_SOUND, 7])
    losses = token_losses(logits, targets, AUDIO_0, N_CODES)
    chances = logits.softmax(-1)
    sounds = chances[:, AUDIO_0 : AUDIO_0 + N_CODES].sum(-1)
    wanted = torch.stack([chances[0, 2], sounds[1], chances[2, 5], sounds[3], chances[4, 7]])
    torch.testing.assert_close(losses, -wanted.log())


def test_any_sound_moves_no_speech_token_against_another() -> None:
    logits = random_logits().requires_grad_()
    token_losses(logits, torch.full((5,), ANY_SOUND), AUDIO_0, N_CODES).sum().backward()
    assert logits.grad is not None
    sounds = slice(AUDIO_0, AUDIO_0 + N_CODES)
    moved = (logits.detach().softmax(-1) + -logits.grad)[:, sounds]  # what draws each one up
    shares = moved / moved.sum(-1, keepdim=True)
    own = logits.detach()[:, sounds].softmax(-1)
    torch.testing.assert_close(shares, own)
    assert (logits.grad[:, :AUDIO_0] > 0).all()  # text goes down
    assert (logits.grad[:, sounds] < 0).all()  # sound goes up


def test_text_that_goes_on_after_sound_has_a_weight_of_its_own() -> None:
    """The end of the reply, which comes after sound too, has not."""
    sound, text = LAYOUT.audio_0 + 3, 65
    before = torch.tensor([text, sound, sound, sound, text, sound])
    targets = torch.tensor([text, text, sound, LAYOUT.user, ANY_SOUND, ANY_SOUND])
    weights = token_weights(before, targets, LAYOUT, audio=0.25, resumed=4.0)
    assert weights.tolist() == [1.0, 4.0, 0.25, 1.0, 1.0, 1.0]
