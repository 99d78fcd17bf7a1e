"""A model carried over into wider feed-forward layers says the same, and all of it learns."""

import pytest
import torch
from transformers import GlmConfig, GlmForCausalLM

from antiphon.errors import ConfigError
from antiphon.training.widening import widen_feed_forward


def small_model(n_units: int) -> GlmForCausalLM:
    """Build a language model whose feed-forward layers have `n_units` units."""
    config = GlmConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=n_units,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        pad_token_id=0,
        eos_token_id=[1],
    )
    return GlmForCausalLM(config).eval()


def widened(n_units: int, n_wanted: int) -> tuple[GlmForCausalLM, GlmForCausalLM]:
    """Give a model and its wider copy."""
    narrow, wide = small_model(n_units), small_model(n_wanted)
    wide.load_state_dict(widen_feed_forward(narrow.state_dict(), wide.state_dict()))
    return narrow, wide


@pytest.mark.parametrize("n_wanted", [24, 40])
def test_the_wider_model_says_the_same(n_wanted):
    narrow, wide = widened(24, n_wanted)
    ids = torch.arange(18).reshape(2, 9)
    with torch.no_grad():
        torch.testing.assert_close(wide(ids).logits, narrow(ids).logits, rtol=0, atol=1e-6)


def test_new_units_learn():
    _, wide = widened(24, 40)
    ids = torch.arange(18).reshape(2, 9)
    wide(ids, labels=ids).loss.backward()
    gradient = wide.model.layers[0].mlp.down_proj.weight.grad
    assert gradient is not None
    assert (gradient[:, 24:].abs().amax(dim=0) > 0).all()


def test_a_narrower_model_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"gate_up_proj.*24 units.*16"):
        widen_feed_forward(small_model(24).state_dict(), small_model(16).state_dict())


def test_other_widths_and_depths_are_left_to_be_named():
    old, new = small_model(24).state_dict(), small_model(40).state_dict()
    gate, down = (f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate_up", "down"))
    new[gate], new[down] = torch.zeros(80, 48), torch.zeros(48, 40)
    del new["model.layers.1.mlp.down_proj.weight"]
    grown = widen_feed_forward(old, new)
    assert torch.equal(grown[gate], old[gate])
    assert torch.equal(grown[down], old[down])
    assert set(grown) == set(old)
