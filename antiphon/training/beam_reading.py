"""Reads letters from CTC probabilities and a letter model together: a prefix beam search.

Source: Hannun et al. 2014 (arXiv 1408.2873), algorithm 1, with letters in place of words; the score
of a text is log p of the CTC + alpha * log p of the letters + beta * number of letters. Knows
neither audio nor how either model learned.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from antiphon.training.letter_model import LetterModel

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BeamSettings:
    """How the two models are weighed, and what is not looked at.

    The defaults were chosen on held-out questions in voices of the training.

    Attributes:
        alpha: Weight of the letter model.
        beta: Reward of a letter.
        width: Texts that are kept at each step.
        margin: How far a text may be behind the best before it is dropped, natural logarithm.
        least_letter: Probability below which a step's letter is not tried.
        sure_blank: Probability of the blank from which on a step is taken for nothing else.
    """

    alpha: float = 0.6
    beta: float = 1.0
    width: int = 32
    margin: float = 12.0
    least_letter: float = 1e-3
    sure_blank: float = 0.9999


@dataclass(slots=True, eq=False)
class Prefix:
    """A text read so far.

    Attributes:
        label: Its last letter; -1 for the empty text.
        before: The text without it.
        state: Context of the letter model.
        bonus: What letter model and length add to its score.
        row: Log probability of what may come next, once it was asked for.
    """

    label: int
    before: "Prefix | None"
    state: int
    bonus: float
    row: list[float] = field(default_factory=list)

    def labels(self) -> list[int]:
        """Give the whole text."""
        found, prefix = [], self
        while prefix.before is not None:
            found.append(prefix.label)
            prefix = prefix.before
        return found[::-1]


@dataclass(slots=True)
class Weight:
    """Probability of a text's alignments so far, but for a common factor: by what they end in."""

    blank: float = 0.0
    letter: float = 0.0

    @property
    def total(self) -> float:
        """Of all alignments."""
        return self.blank + self.letter


Beam = dict[Prefix, Weight]
Longer = dict[tuple[Prefix, int], Prefix]  # no text knows those after it: that would be a ring


class BeamReader:
    """Reads what a letter model finds likely among what the CTC allows.

    Args:
        letters: Model over the CTC's letters.
        settings: Weights and limits.
    """

    def __init__(self, letters: LetterModel, settings: BeamSettings | None = None) -> None:
        self.letters, self.settings = letters, settings or BeamSettings()

    def read(self, log_probabilities: Float32) -> list[int]:
        """Find the best text.

        Args:
            log_probabilities: Of the letters and, last, the blank at each step, (T, V).

        Returns:
            Its labels.
        """
        probabilities = np.exp(log_probabilities.astype(np.float64))
        beam: Beam = {Prefix(-1, None, self.letters.start, 0.0): Weight(blank=1.0)}
        known: Longer = {}
        for step in probabilities:
            if step[-1] >= self.settings.sure_blank:
                beam = {text: Weight(weight.total) for text, weight in beam.items()}
            else:
                beam = self.kept(self.extended(beam, step, known))
        return max(beam, key=lambda prefix: self.final_score(prefix, beam[prefix])).labels()

    def extended(self, beam: Beam, step: npt.NDArray[np.float64], known: Longer) -> Beam:
        """Let every text of a beam stay as it is or take one letter more; step (V,)."""
        found: Beam = {}
        tried = np.flatnonzero(step[:-1] >= self.settings.least_letter).tolist()
        chances: list[float] = step.tolist()
        for prefix, weight in beam.items():
            total = weight.total
            same = found.setdefault(prefix, Weight())
            same.blank += total * chances[-1]
            if prefix.label >= 0:
                same.letter += weight.letter * chances[prefix.label]
            for label in tried:
                # A letter twice in a row needs a blank between.
                source = weight.blank if label == prefix.label else total
                if source:
                    longer = known.get((prefix, label))
                    if longer is None:
                        longer = known[prefix, label] = self.lengthened(prefix, label)
                    found.setdefault(longer, Weight()).letter += source * chances[label]
        return found

    def lengthened(self, prefix: Prefix, label: int) -> Prefix:
        """Put a letter behind a text."""
        bonus = prefix.bonus + self.settings.alpha * self.row(prefix)[label] + self.settings.beta
        state = int(self.letters.next_states[prefix.state, label])
        return Prefix(label, prefix, state, bonus)

    def row(self, prefix: Prefix) -> list[float]:
        """Log probabilities of what comes after a text."""
        if not prefix.row:
            prefix.row = self.letters.log_probabilities[prefix.state].tolist()
        return prefix.row

    def kept(self, beam: Beam) -> Beam:
        """Keep the best texts, and bring the best probability to one."""
        scores = {
            prefix: math.log(weight.total) + prefix.bonus
            for prefix, weight in beam.items()
            if weight.total > 0
        }
        best = sorted(scores, key=scores.__getitem__, reverse=True)[: self.settings.width]
        least = scores[best[0]] - self.settings.margin
        chosen = [prefix for prefix in best if scores[prefix] >= least]
        scale = 1.0 / max(beam[prefix].total for prefix in chosen)
        return {
            prefix: Weight(beam[prefix].blank * scale, beam[prefix].letter * scale)
            for prefix in chosen
        }

    def final_score(self, prefix: Prefix, weight: Weight) -> float:
        """Score of a text that ends here."""
        ending = self.settings.alpha * self.row(prefix)[-1]
        return math.log(weight.total) + prefix.bonus + ending
