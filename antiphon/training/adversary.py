"""The opponent of the vocoder: discriminators with their optimizer, and the losses between them.

Least-squares losses and feature matching as in HiFi-GAN (arXiv 2010.05646), section 2.3; each is a
mean over the discriminators. Knows waveforms, not what made them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.task import Losses, TaskConfig, seeded
from cosyvoice.hifigan.discriminator import Discriminators, DiscriminatorSizes, Verdict


@dataclass(frozen=True)
class AdversarialConfig(TaskConfig):
    """How a vocoder is trained against discriminators.

    Attributes:
        adversarial_from: Share of the run after which it begins; 1 leaves it out.
        adversarial_ramp: Share of the run over which its losses then grow to their weights.
        adversarial_weight, feature_weight: Weights of the discriminators' scores and of the
            distance between what they see in the vocoder's speech and in the recording.
        discriminator_learning_rate: Peak; it follows the vocoder's schedule.
        periods, period_channels: Period discriminators and the widths of each.
        spectrum_n_ffts, spectrum_channels: Spectrogram discriminators and their width.
    """

    adversarial_from: float = 0.7
    adversarial_ramp: float = 0.05
    adversarial_weight: float = 0.1
    feature_weight: float = 0.5
    discriminator_learning_rate: float = 1e-3
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024)
    spectrum_n_ffts: tuple[int, ...] = (512, 1024, 2048)
    spectrum_channels: int = 32

    def adversarial_share(self, fraction: float) -> float | None:
        """Share of their weights that the adversarial losses have; None before they begin."""
        if fraction < self.adversarial_from or self.adversarial_from >= 1:
            return None
        return min(1.0, (fraction - self.adversarial_from) / max(self.adversarial_ramp, 1e-9))

    def check_adversary(self) -> None:
        """Refuse settings that no discriminator can be built from.

        Raises:
            ConfigError: If a share, a weight or a size is out of its range.
        """
        numbers = {"adversarial_from": self.adversarial_from, "feature_weight": self.feature_weight}
        numbers |= {"adversarial_weight": self.adversarial_weight}
        numbers |= {"adversarial_ramp": self.adversarial_ramp}
        negative = [f"{name}={value}" for name, value in numbers.items() if value < 0]
        if negative:
            raise ConfigError(f"{', '.join(negative)}: expected 0 or more")
        sizes = [*self.periods, *self.period_channels, *self.spectrum_n_ffts]
        if min([*sizes, self.spectrum_channels]) < 1 or not self.period_channels:
            raise ConfigError(
                "periods, period_channels, spectrum_n_ffts and spectrum_channels must be 1 or more"
            )
        if not (self.periods or self.spectrum_n_ffts):
            raise ConfigError(
                "no discriminator: name periods or spectrum_n_ffts, or set adversarial_from=1"
            )


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """Mean of scalars."""
    return torch.stack(list(parts)).mean()


def discriminator_loss(real: Sequence[Verdict], fake: Sequence[Verdict]) -> Tensor:
    """Least squares: recordings are to score one, the vocoder's speech zero."""
    pairs = zip(real, fake, strict=True)
    return _mean([(r.scores - 1).square().mean() + f.scores.square().mean() for r, f in pairs])


def adversarial_loss(fake: Sequence[Verdict]) -> Tensor:
    """Least squares: the vocoder wants its speech to score one."""
    return _mean([(f.scores - 1).square().mean() for f in fake])


def feature_matching(real: Sequence[Verdict], fake: Sequence[Verdict]) -> Tensor:
    """L1 between what the discriminators see, relative to its size in the recording."""
    distances = [
        functional.l1_loss(got.float(), wanted.float()) / (wanted.float().abs().mean() + 1e-6)
        for r, f in zip(real, fake, strict=True)
        for wanted, got in zip(r.features, f.features, strict=True)
    ]
    return _mean(distances)


def share_right(real: Sequence[Verdict], fake: Sequence[Verdict]) -> Tensor:
    """How often a score is on the right side of a half; 0.5 is guessing."""
    pairs = zip(real, fake, strict=True)
    return _mean(
        [
            0.5 * ((r.scores > 0.5).float().mean() + (f.scores < 0.5).float().mean())
            for r, f in pairs
        ]
    )


class Adversary:
    """Discriminators that learn beside a vocoder.

    Attributes:
        model: The discriminators.
        optimizer: Theirs alone.

    Raises:
        ConfigError: If the sizes or weights make no sense.
    """

    longest_gradient = 5.0

    def __init__(self, config: AdversarialConfig) -> None:
        config.check_adversary()
        self.config = config
        sizes = DiscriminatorSizes(
            config.periods, config.period_channels, config.spectrum_n_ffts, config.spectrum_channels
        )
        with seeded(config.seed):
            self.model = Discriminators(sizes).to(config.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.discriminator_learning_rate,
            betas=(0.8, 0.99),
            fused=True,
        )

    def learn(self, recorded: Tensor, made: Tensor, rate_factor: float) -> Losses:
        """One step of the discriminators on (B, n) each; no gradient reaches the vocoder.

        Args:
            recorded: Recordings.
            made: What the vocoder made of their mels.
            rate_factor: Share of the peak learning rate.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.discriminator_learning_rate * rate_factor
        real, fake = self.model(recorded), self.model(made.detach())
        loss = discriminator_loss(real, fake)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.longest_gradient)
        self.optimizer.step()
        return {"discriminator": loss.detach(), "discriminator_right": share_right(real, fake)}

    def oppose(self, recorded: Tensor, made: Tensor) -> Losses:
        """Losses of the vocoder: `adversarial` and `features`; the discriminators stay as is."""
        with torch.no_grad():
            real = self.model(recorded)
        self.model.requires_grad_(False)
        fake = self.model(made)
        self.model.requires_grad_(True)
        return {"adversarial": adversarial_loss(fake), "features": feature_matching(real, fake)}

    def state(self) -> dict[str, object]:
        """What a checkpoint holds."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, object]) -> None:
        """Take up a checkpoint's state.

        Raises:
            CheckpointError: If it is of discriminators of other sizes.
        """
        try:
            self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
            self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint's discriminators are of other sizes than the settings say; "
                f"give the same settings, or another run folder: {error}"
            ) from error
