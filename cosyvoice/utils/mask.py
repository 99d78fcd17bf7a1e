"""Padding and block masks, built without loops. Knows no model."""

import torch
from torch import Tensor


def make_pad_mask(lengths: Tensor, max_len: int = 0) -> Tensor:
    """Mark padding.

    Args:
        lengths: (B,) numbers of valid frames.
        max_len: Width of the mask; 0 for the longest of `lengths`.

    Returns:
        (B, T) bool, True where a frame is padding.
    """
    width = max_len if max_len > 0 else int(lengths.max())
    return torch.arange(width, device=lengths.device) >= lengths.unsqueeze(1)


def make_valid_mask(lengths: Tensor, max_len: int = 0) -> Tensor:
    """Mark frames that are not padding, (B, T) bool."""
    return ~make_pad_mask(lengths, max_len)


def block_causal_mask(n_frames: int, block_size: int, device: torch.device) -> Tensor:
    """Let each frame see everything up to the end of its own block.

    Returns:
        (T, T) bool, row = query, True where the key is visible.
    """
    index = torch.arange(n_frames, device=device)
    block_end = (index // block_size + 1) * block_size
    return index.unsqueeze(0) < block_end.unsqueeze(1)
