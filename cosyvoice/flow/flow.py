"""Speech tokens to mel: encode the tokens, stretch them to the mel rate, solve the flow.

Source: Du et al., "CosyVoice" (arXiv 2407.05407), section 2.3. Knows no waveform.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.errors import ConfigError
from cosyvoice.flow.flow_matching import ConditionalCFM, draw_uniform
from cosyvoice.flow.length_regulator import InterpolateRegulator
from cosyvoice.flow.solving import Solving
from cosyvoice.transformer.encoder import BlockConformerEncoder
from cosyvoice.utils.mask import make_valid_mask

MEL_SAMPLE_RATE = 22_050
MEL_HOP_LENGTH = 256


@dataclass(frozen=True)
class PromptSampling:
    """How much of a training utterance is given as a prompt.

    Attributes:
        probability: Share of utterances with a prompt.
        longest_share: Largest share of an utterance that is a prompt.
    """

    probability: float = 0.5
    longest_share: float = 0.3


@dataclass(frozen=True)
class Conditions:
    """What the flow is solved under.

    Attributes:
        mu: Encoded tokens at the mel rate, (B, C, T).
        mask: (B, 1, T), 1 at valid frames.
        speaker: (B, C).
        frame_lens: (B,) valid mel frames.
    """

    mu: Tensor
    mask: Tensor
    speaker: Tensor
    frame_lens: Tensor


class MaskedDiffWithXvec(nn.Module):
    """Decoder from speech tokens to mel; names are keys of config.yaml.

    Args:
        input_size: Width of the token embedding.
        output_size: Mel channels C.
        spk_embed_dim: Width of the speaker vector.
        output_type: "mel".
        vocab_size: Number of speech tokens.
        input_frame_rate: Tokens a second.
        only_mask_loss: In training, count errors outside the prompt alone.
        frames_per_token: Frames that the encoder gives of a token. The published decoder gives one,
            which is repeated at the mel rate; a small one says more of a token's 80 ms with seven.
        encoder: Encodes tokens.
        length_regulator: Stretches them.
        decoder: Solves the flow.

    Raises:
        ConfigError: If `output_type` is another one.
    """

    def __init__(
        self,
        input_size: int = 512,
        output_size: int = 80,
        spk_embed_dim: int = 192,
        output_type: str = "mel",
        vocab_size: int = 4096,
        input_frame_rate: float = 50,
        only_mask_loss: bool = True,
        frames_per_token: int = 1,
        *,
        encoder: BlockConformerEncoder,
        length_regulator: InterpolateRegulator,
        decoder: ConditionalCFM,
    ) -> None:
        super().__init__()
        if output_type != "mel":
            raise ConfigError(f"output_type {output_type!r} is not supported; expected 'mel'")
        self.input_size, self.output_size = input_size, output_size
        self.vocab_size, self.input_frame_rate = vocab_size, input_frame_rate
        self.only_mask_loss, self.frames_per_token = only_mask_loss, frames_per_token
        self.input_embedding = nn.Embedding(vocab_size, input_size)
        self.spk_embed_affine_layer = nn.Linear(spk_embed_dim, output_size)
        self.encoder = encoder
        self.encoder_proj = nn.Linear(encoder.output_size(), frames_per_token * output_size)
        self.decoder = decoder
        self.length_regulator = length_regulator

    def mel_lengths(self, token_lens: Tensor) -> Tensor:
        """Mel frames that so many tokens last, rounded down; (B,) int64 to (B,) int64."""
        frames_per_token = MEL_SAMPLE_RATE / MEL_HOP_LENGTH / self.input_frame_rate
        return (token_lens.double() * frames_per_token).long()

    def condition(self, token: Tensor, token_len: Tensor, embedding: Tensor) -> Conditions:
        """Encode tokens (B, T_tokens) with lengths (B,) and speaker vectors (B, spk_embed_dim)."""
        speaker = self.spk_embed_affine_layer(functional.normalize(embedding, dim=1))
        valid = make_valid_mask(token_len, token.shape[1]).unsqueeze(-1)
        embedded = self.input_embedding(token.clamp_min(0)) * valid
        hidden, _ = self.encoder(embedded, token_len)
        frame_lens = self.mel_lengths(token_len)
        mu = self.stretch(hidden, frame_lens, token_len)
        mask = make_valid_mask(frame_lens).unsqueeze(1).to(mu.dtype)  # (B, 1, T)
        return Conditions(mu.transpose(1, 2).contiguous(), mask, speaker, frame_lens)

    def stretch(
        self,
        hidden: Tensor,
        frame_lens: Tensor,
        token_lens: Tensor | None,
        n_frames: int | None = None,
    ) -> Tensor:
        """Bring encoded tokens to the mel rate.

        Args:
            hidden: (B, T_tokens, D).
            frame_lens: (B,) wanted frames.
            token_lens: (B,) valid tokens; None if all are.
            n_frames: Width of the output; None for the largest of frame_lens.

        Returns:
            (B, n_frames, C).
        """
        frames = self.encoder_proj(hidden).unflatten(-1, (self.frames_per_token, -1)).flatten(1, 2)
        lens = None if token_lens is None else token_lens * self.frames_per_token
        stretched, _ = self.length_regulator(frames, frame_lens, lens, n_frames)
        return stretched

    @torch.inference_mode()
    def inference(
        self,
        token: Tensor,
        token_len: Tensor,
        prompt_token: Tensor,
        prompt_token_len: Tensor,
        prompt_feat: Tensor,
        prompt_feat_len: Tensor,
        embedding: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        n_timesteps: int | Solving = 10,
    ) -> Tensor:
        """Continue a prompt with the mel of `token`.

        All items of a batch have prompts of the same length, which may be zero.

        Args:
            token: (B, T) int64 speech tokens.
            token_len: (B,) valid tokens.
            prompt_token: (B, P) tokens of what was said before.
            prompt_token_len: (B,), all P.
            prompt_feat: (B, F, 80) mel of what was said before.
            prompt_feat_len: (B,), all F.
            embedding: (B, spk_embed_dim) speaker vector; zeros for none.
            noise: (B, 80, T_mel) start of the flow, prompt included; drawn if None.
            generator: What draws it.
            n_timesteps: Guided Euler steps, or how else to solve.

        Returns:
            (B, 80, T_mel - F), zero past the end of shorter items.

        Raises:
            ValueError: If prompts of a batch differ in length, or a prompt leaves nothing to say.
        """
        n_prompt = prompt_feat.shape[1]
        if bool((prompt_token_len != prompt_token.shape[1]).any()) or bool(
            (prompt_feat_len != n_prompt).any()
        ):
            raise ValueError("prompts of one batch must have the same length, without padding")
        tokens = torch.cat([prompt_token.to(token), token], dim=1)
        given = self.condition(tokens, prompt_token_len.to(token_len) + token_len, embedding)
        n_frames = given.mu.shape[2]
        if n_prompt >= n_frames:
            raise ValueError(f"prompt of {n_prompt} frames, but all tokens last {n_frames}")
        cond = functional.pad(prompt_feat.transpose(1, 2), (0, n_frames - n_prompt))
        mel = self.decoder(
            given.mu,
            given.mask,
            n_timesteps,
            spks=given.speaker,
            cond=cond.to(given.mu),
            noise=noise,
            generator=generator,
        )
        return (mel * given.mask)[:, :, n_prompt:]

    def forward(
        self,
        batch: Mapping[str, Tensor],
        device: torch.device,
        *,
        generator: torch.Generator | None = None,
        prompt: PromptSampling | None = None,
    ) -> dict[str, Tensor]:
        """Training loss.

        Args:
            batch: speech_token (B, T), speech_token_len (B,), speech_feat (B, T_mel, 80),
                speech_feat_len (B,), embedding (B, spk_embed_dim).
            device: Where to compute.
            generator: Draws everything random but dropout.
            prompt: How much of each utterance is given as a prompt.

        Returns:
            {"loss": squared error of the velocity, "prior_loss": squared error of mu as a mel}.
            The second is no part of the original's training; it speeds up a small model's.
        """
        values = {key: value.to(device) for key, value in batch.items()}
        given = self.condition(
            values["speech_token"], values["speech_token_len"], values["embedding"]
        )
        mel = fit_frames(values["speech_feat"].transpose(1, 2), given.mu.shape[2])
        mel = mel * given.mask
        is_prompt = draw_prompt(given, prompt or PromptSampling(), generator)
        loss, _ = self.decoder.compute_loss(
            mel,
            given.mask,
            given.mu,
            given.speaker,
            mel * is_prompt,
            loss_mask=given.mask * ~is_prompt if self.only_mask_loss else given.mask,
            generator=generator,
        )
        prior_error = (given.mu - mel).square() * given.mask
        prior_loss = prior_error.sum() / (given.mask.sum() * mel.shape[1])
        return {"loss": loss, "prior_loss": prior_loss}


def draw_prompt(
    given: Conditions, sampling: PromptSampling, generator: torch.Generator | None
) -> Tensor:
    """Mark the frames of each item that are its prompt, (B, 1, T) bool."""
    n_items = given.mu.shape[0]
    has_prompt = draw_uniform((n_items,), given.mu, generator) < sampling.probability
    share = draw_uniform((n_items,), given.mu, generator) * sampling.longest_share
    n_prompt = (share * given.frame_lens * has_prompt).long()
    return make_valid_mask(n_prompt, given.mu.shape[2]).unsqueeze(1)


def fit_frames(mel: Tensor, n_frames: int) -> Tensor:
    """Cut (B, C, T) to n_frames or repeat its last frame; token and mel counts are rounded."""
    missing = n_frames - mel.shape[2]
    return (
        functional.pad(mel, (0, missing), mode="replicate") if missing > 0 else mel[..., :n_frames]
    )
