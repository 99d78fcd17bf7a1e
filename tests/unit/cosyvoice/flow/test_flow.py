"""Tokens to mel: shapes, prompts, batches, block causality, training loss."""

import pytest
import torch
from torch import Tensor

from cosyvoice.flow.flow import MaskedDiffWithXvec, PromptSampling
from tests.flow_shapes import small_flow


@pytest.fixture(scope="module", params=[1, 7])
def flow(request: pytest.FixtureRequest) -> MaskedDiffWithXvec:
    return small_flow(frames_per_token=request.param)


def tokens(n_items: int, n_tokens: int) -> Tensor:
    return torch.randint(0, 64, (n_items, n_tokens), generator=torch.Generator().manual_seed(5))


def decode(
    flow: MaskedDiffWithXvec,
    token: Tensor,
    lens: list[int],
    noise: Tensor | None = None,
    prompt: Tensor | None = None,
    prompt_feat: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    n_items = token.shape[0]
    prompt = token[:, :0] if prompt is None else prompt
    prompt_feat = torch.zeros(n_items, 0, 80) if prompt_feat is None else prompt_feat
    return flow.inference(
        token,
        torch.tensor(lens),
        prompt,
        torch.full((n_items,), prompt.shape[1]),
        prompt_feat,
        torch.full((n_items,), prompt_feat.shape[1]),
        torch.zeros(n_items, 192),
        noise=noise,
        generator=generator,
        n_timesteps=4,
    )


def test_mel_lengths_are_exact(flow: MaskedDiffWithXvec) -> None:
    n_tokens = torch.arange(1, 20_000)
    assert torch.equal(flow.mel_lengths(n_tokens), n_tokens * 441 // 64)


def test_items_of_a_batch_come_out_as_alone(flow: MaskedDiffWithXvec) -> None:
    lens = [23, 14, 1]
    token = tokens(3, 23)
    frames = flow.mel_lengths(torch.tensor(lens)).tolist()
    noise = torch.randn(3, 80, frames[0], generator=torch.Generator().manual_seed(1))
    together = decode(flow, token, lens, noise)
    for index, (n, n_frames) in enumerate(zip(lens, frames, strict=True)):
        item = slice(index, index + 1)
        alone = decode(flow, token[item, :n], [n], noise[item, :, :n_frames])
        assert torch.allclose(together[item, :, :n_frames], alone, atol=1e-4)
        assert not together[item, :, n_frames:].any()


def test_noise_comes_from_the_generator_alone(flow: MaskedDiffWithXvec) -> None:
    token = tokens(1, 9)
    before = torch.random.get_rng_state()
    first = decode(flow, token, [9], generator=torch.Generator().manual_seed(1))
    again = decode(flow, token, [9], generator=torch.Generator().manual_seed(1))
    other = decode(flow, token, [9], generator=torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_prompt_is_cut_off_and_matters(flow: MaskedDiffWithXvec) -> None:
    token, prompt = tokens(1, 8), tokens(1, 6)
    n_prompt = int(flow.mel_lengths(torch.tensor([6])))
    n_all = int(flow.mel_lengths(torch.tensor([14])))
    noise = torch.randn(1, 80, n_all, generator=torch.Generator().manual_seed(1))
    loud = decode(flow, token, [8], noise, prompt, torch.ones(1, n_prompt, 80))
    quiet = decode(flow, token, [8], noise, prompt, torch.zeros(1, n_prompt, 80))
    assert loud.shape == (1, 80, n_all - n_prompt)
    assert not torch.allclose(loud, quiet, atol=1e-4)


def test_prompt_that_leaves_nothing_is_refused(flow: MaskedDiffWithXvec) -> None:
    with pytest.raises(ValueError, match="prompt of 40 frames"):
        decode(flow, tokens(1, 3), [3], prompt_feat=torch.zeros(1, 40, 80))


def test_ragged_prompts_are_refused(flow: MaskedDiffWithXvec) -> None:
    with pytest.raises(ValueError, match="same length"):
        flow.inference(
            tokens(2, 3),
            torch.tensor([3, 3]),
            tokens(2, 4),
            torch.tensor([4, 3]),
            torch.zeros(2, 0, 80),
            torch.tensor([0, 0]),
            torch.zeros(2, 192),
        )


def test_later_blocks_do_not_change_the_encoding(flow: MaskedDiffWithXvec) -> None:
    embedded = torch.randn(1, 30, 32, generator=torch.Generator().manual_seed(1))
    whole, _ = flow.encoder(embedded, torch.tensor([30]))
    part, _ = flow.encoder(embedded[:, :20], torch.tensor([20]))
    changed = embedded.clone()
    changed[:, 19] += 1.0
    assert torch.allclose(whole[:, :20], part, atol=1e-5)
    assert not torch.allclose(flow.encoder(changed, torch.tensor([30]))[0][:, 10], whole[:, 10])


def batch(n_tokens: int) -> dict[str, Tensor]:
    n_frames = n_tokens * 441 // 64
    mel = torch.randn(2, n_frames, 80, generator=torch.Generator().manual_seed(3))
    return {
        "speech_token": tokens(2, n_tokens),
        "speech_token_len": torch.tensor([n_tokens, n_tokens - 4]),
        "speech_feat": mel,
        "speech_feat_len": torch.tensor([n_frames, n_frames - 28]),
        "embedding": torch.zeros(2, 192),
    }


def loss_of(flow: MaskedDiffWithXvec, values: dict[str, Tensor], share: float) -> Tensor:
    losses = flow(
        values,
        torch.device("cpu"),
        generator=torch.Generator().manual_seed(7),
        prompt=PromptSampling(1.0, share),
    )
    return losses["loss"]


def test_loss_reaches_every_weight_but_the_unused(flow: MaskedDiffWithXvec) -> None:
    flow.zero_grad()
    values = batch(12)
    values["embedding"] = torch.ones(2, 192)
    loss_of(flow, values, 0.5).backward()
    without = [name for name, p in flow.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(name.endswith("linear_k.bias") for name in without), without


def test_loss_ignores_padding_and_is_repeatable(flow: MaskedDiffWithXvec) -> None:
    values = batch(12)
    first = loss_of(flow, values, 0.5)
    changed = dict(values)
    changed["speech_feat"] = values["speech_feat"].clone()
    changed["speech_feat"][1, 60:] = 9.0
    changed["speech_token"] = values["speech_token"].clone()
    changed["speech_token"][1, 8:] = 0
    assert torch.allclose(first, loss_of(flow, values, 0.5), atol=0)
    assert torch.allclose(first, loss_of(flow, changed, 0.5), atol=1e-5)


def test_mels_of_a_rounding_more_or_less_are_taken(flow: MaskedDiffWithXvec) -> None:
    values = batch(12)
    longer = dict(values)
    longer["speech_feat"] = torch.cat([values["speech_feat"], torch.ones(2, 1, 80)], dim=1)
    shorter = dict(values)
    shorter["speech_feat"] = values["speech_feat"][:, :-1]
    assert torch.equal(loss_of(flow, values, 0.5), loss_of(flow, longer, 0.5))
    assert torch.isfinite(loss_of(flow, shorter, 0.5))


@pytest.mark.parametrize("lens", [[23, 14, 1], [10, 10, 10]])
def test_the_same_in_each_frame_of_a_token_is_one_that_is_repeated(lens: list[int]) -> None:
    one, several = small_flow(), small_flow(frames_per_token=7)
    state = one.state_dict()
    for name in ("encoder_proj.weight", "encoder_proj.bias"):
        state[name] = state[name].repeat(7, *[1] * (state[name].ndim - 1))
    several.load_state_dict(state)
    token, given = tokens(3, max(lens)), (torch.tensor(lens), torch.zeros(3, 192))
    assert torch.allclose(
        one.condition(token, *given).mu, several.condition(token, *given).mu, atol=1e-5
    )


def test_each_frame_of_a_token_is_said_by_its_own_weights() -> None:
    flow = small_flow(frames_per_token=7)
    hidden = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(2))
    lens = torch.tensor([27])
    before = flow.stretch(hidden, lens, None)
    with torch.no_grad():
        flow.encoder_proj.bias[6 * 80 :] += 1.0  # the last of the seven
    moved = (flow.stretch(hidden, lens, None) - before).abs().sum(-1)[0]
    least, most = moved[10:16], moved[17:22]  # far from it in the second and third token, and near
    assert moved.argmax() % 7 in (5, 6, 0)
    assert least.min() < 0.5 * most.max()
