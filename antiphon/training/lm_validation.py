"""Counts what the language model gets right of held-out questions while it learns."""

import logging
import random
from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from transformers import GlmForCausalLM

from antiphon.dialogue.prompt import N_AUDIO_BLOCK, N_TEXT_BLOCK, REPLY_MODE, render_system
from antiphon.training.data import CodeStore, Record, SpeechCorpus
from antiphon.training.domain.table import Domain
from antiphon.training.lm_batches import spoken_answers
from antiphon.training.lm_data import Codes, SegmentBuilder, follow
from antiphon.training.lm_rows import RowSource

logger = logging.getLogger(__name__)

N_VALID, N_RECITED = 96, 64


class HeldOut:
    """Questions and answers that nobody learns from.

    Args:
        data: Folder of the corpus; it is read once, its codes each time.
        domain: What is asked.
        builder: Builds the exchanges.
        row_length: Tokens in a row.
    """

    def __init__(self, data: str, domain: Domain, builder: SegmentBuilder, row_length: int) -> None:
        self.corpus, self.store = SpeechCorpus(data), CodeStore(data)
        self.domain, self.builder, self.row_length = domain, builder, row_length

    def prompts(self, asked: list[Record], codes: dict[str, Codes]) -> list[list[int]]:
        """Give the tokens before each answer: the system prompt, earlier turns, the question.

        Args:
            asked: All questions with codes, those of earlier turns too; the first are asked.
            codes: Codes by utterance id.
        """
        builder = self.builder
        answers = spoken_answers(self.corpus, codes)
        source = RowSource(builder, self.domain, asked, codes, answers, self.row_length)
        prefix = render_system("speech", builder.layout, builder.tokenizer)
        noise, builder.noise = builder.noise, 0.0
        found = []
        for record in asked[:N_VALID]:
            question = builder.segment(builder.heard(codes[record.id]), REPLY_MODE, [])
            found.append([*prefix, *follow(source.before(record) or [], question).ids])
        builder.noise = noise
        return found

    def right_answers(
        self, model: GlmForCausalLM, asked: list[Record], codes: dict[str, Codes]
    ) -> Mapping[str, int]:
        """Count which of the first questions are answered rightly (greedy), by skill."""
        tokenizer = self.builder.tokenizer
        prompts = self.prompts(asked, codes)
        longest = max(map(len, prompts))
        padding = self.builder.layout.stop[0]
        rows = [[padding] * (longest - len(p)) + p for p in prompts]
        shown = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
        out = model.generate(  # type: ignore[misc]
            torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(shown, device=model.device),
            do_sample=False,
            max_new_tokens=N_TEXT_BLOCK,
            pad_token_id=padding,
        )[:, longest:]
        right: Counter[str] = Counter()
        for record, row in zip(asked[:N_VALID], out.tolist(), strict=True):
            n_text = next((i for i, t in enumerate(row) if t >= tokenizer.n_ranks), len(row))
            expected = self.builder.written(record.answer)[:N_TEXT_BLOCK]
            right[skill_name(record)] += row[:n_text] == expected
        return right

    def right_results(self, model: GlmForCausalLM, skill: str, seed: int) -> float:
        """Share of reserved answers that go on rightly in text after what was asked (greedy).

        Any sound stands between their blocks, as it does where they are practised.
        """
        rng = random.Random(seed)
        filler = np.arange(N_AUDIO_BLOCK, dtype=np.int16)
        right = 0
        for _ in range(N_RECITED):
            exchange = self.domain.draw(rng, skill, reserved=True)
            segment = self.builder.recited(exchange.answer, filler)
            best = model(torch.tensor([segment.ids], device=model.device)).logits[0].argmax(-1)
            wanted = torch.tensor(segment.targets, device=model.device)
            right += bool(((best == wanted) | (wanted < 0)).all())
        return right / N_RECITED

    def validate(self, model: GlmForCausalLM, seed: int) -> dict[str, float]:
        """Shares of reserved answers right in text, and of reserved questions heard rightly."""
        codes = self.store.load()
        asked = [r for r in self.corpus.select("question", "valid") if r.id in codes]
        figures = {
            "right_results": self.right_results(model, "arithmetic", seed),
            "right_counts": self.right_results(model, "count", seed),
        }
        if asked:
            right = self.right_answers(model, asked, codes)
            skills = Counter(map(skill_name, asked[:N_VALID]))
            figures["right"] = sum(right.values()) / skills.total()
            shown = {skill: f"{right[skill]}/{n}" for skill, n in skills.items()}
            logger.info("right by skill: %s", shown)
        return figures


def skill_name(record: Record) -> str:
    """Name a question's skill, with the language unless that is English."""
    return record.skill if record.language != "zh" else f"{record.skill}-zh"
