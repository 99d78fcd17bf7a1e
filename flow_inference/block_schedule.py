"""How many tokens to wait for before each block, and what a block sees of the past."""

from dataclasses import dataclass, field

from antiphon.errors import ConfigError


@dataclass(frozen=True)
class BlockSchedule:
    """Sizes of the blocks; the last one repeats.

    Small first blocks bring sound early and before the listener has heard what there was; larger
    ones cost less a second. Multiples of the token encoder's own block (10) leave its output as it
    would be without blocks.
    """

    sizes: tuple[int, ...] = (10, 10, 20, 30, 50)

    def __post_init__(self) -> None:
        if not self.sizes or any(size < 1 for size in self.sizes):
            raise ConfigError(
                f"block sizes {self.sizes}; expected one or more whole numbers of at least 1"
            )

    def size(self, index: int) -> int:
        """Tokens of block `index`, counted from 0."""
        return self.sizes[min(index, len(self.sizes) - 1)]


@dataclass(frozen=True)
class Crowd:
    """What changes when many replies are under way.

    Attributes:
        n_replies: More than so many are a crowd; a reply that begins in one has other blocks.
        schedule: Their sizes. A larger first block comes later, leaves its listener more time until
            the next one, and costs less a second.
    """

    n_replies: int
    schedule: BlockSchedule = BlockSchedule((20, 20, 30, 50))

    def __post_init__(self) -> None:
        if self.n_replies < 0:
            raise ConfigError(f"a crowd of more than {self.n_replies}; expected at least 0")


@dataclass(frozen=True)
class StreamOptions:
    """How a reply is cut into blocks.

    Attributes:
        schedule: Sizes of the blocks.
        context_tokens: Most tokens before a block that it sees, together with their mel.
        overlap_frames: Mel frames that are held back and faded into the next block.
        align_tokens: The context starts at a multiple of this, the token encoder's block.
    """

    schedule: BlockSchedule = field(default_factory=BlockSchedule)
    context_tokens: int = 50
    overlap_frames: int = 14
    align_tokens: int = 10

    def __post_init__(self) -> None:
        if self.context_tokens < 0 or self.overlap_frames < 0 or self.align_tokens < 1:
            raise ConfigError(
                f"context_tokens {self.context_tokens}, overlap_frames {self.overlap_frames}, "
                f"align_tokens {self.align_tokens}; expected at least 0, 0 and 1"
            )

    def context_start(self, first: int) -> int:
        """First token that a block beginning at token `first` sees."""
        earliest = max(0, first - self.context_tokens)
        return min(first, -(-earliest // self.align_tokens) * self.align_tokens)
