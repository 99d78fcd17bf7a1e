"""Raises the peaks of a mel that a decoder predicted. Knows no network.

What is predicted is the mean of all that may have been said so: formants come out flatter than
they were, and some words as others. That statistical speech comes out too smooth: Toda and Tokuda
2007, "A speech parameter generation algorithm considering global variance"; the filter is our own.
"""

from torch import Tensor
from torch.nn import functional

N_AROUND = 4
"""Bands on either side of one that it is compared with: about the distance of two formants."""


def raise_contrast(mel: Tensor, contrast: float) -> Tensor:
    """Move each band of a log mel (80, n) away from the mean around it; frame by frame.

    Args:
        mel: What the flow gave.
        contrast: How much of its distance from that mean is added; 0 changes nothing.
    """
    if contrast == 0 or not mel.shape[1]:
        return mel
    padded = functional.pad(mel.T[None], (N_AROUND, N_AROUND), mode="replicate")
    around = functional.avg_pool1d(padded, 2 * N_AROUND + 1, stride=1)[0].T
    return mel + contrast * (mel - around)
