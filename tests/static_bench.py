"""Steps of the exact and the static decoder side by side, on one tiny model each."""

import random
from dataclasses import dataclass, replace

import torch

from antiphon.engine.base import Interleave, SamplingParams
from antiphon.engine.decoder import ExactDecoder, StaticDecoder
from antiphon.engine.model_runner import ModelRunner, Row
from antiphon.engine.sampling import Sampler
from antiphon.engine.static_step import LATEST, NextToken
from tests.tiny_glm import CONTEXT_LENGTH, VOCAB_SIZE, make_tiny_glm

N_SLOTS = 9


def random_sampling(rng: random.Random) -> SamplingParams:
    """Draw how a request chooses: greedily, from all, from the likeliest, or from few ids."""
    return SamplingParams(
        temperature=rng.choice([0.0, 0.3, 1.0, 2.0]),
        top_p=rng.choice([1.0, 0.8, 0.3]),
        top_k=rng.choice([0, 0, 5, 40]),
        seed=rng.randrange(1000),
        max_new_tokens=40,
        allowed_token_ids=rng.choice([None, None, None, (3, 7, 50, 299)]),
        interleave=rng.choice([None, None, Interleave(3, 5, audio_0=40, n_codes=20)]),
    )


@dataclass
class Talk:
    """A reply under way, in one slot."""

    slot: int
    n_run: int
    last: int
    sampler: Sampler
    n_chosen: int = 0

    def next_token(self, *, is_known: bool) -> NextToken:
        token_id = self.last if is_known else LATEST
        return NextToken(self.slot, self.n_run, token_id, self.sampler.pick(self.n_chosen))

    def take(self, token_id: int) -> None:
        self.n_run, self.last, self.n_chosen = self.n_run + 1, token_id, self.n_chosen + 1


class Pair:
    """The same replies with both decoders."""

    def __init__(self, device: str = "cpu") -> None:
        self.exact = ModelRunner(make_tiny_glm(), N_SLOTS, CONTEXT_LENGTH)
        self.static = ModelRunner(make_tiny_glm().to(device), N_SLOTS, CONTEXT_LENGTH, "sdpa")
        assert self.static.attention is not None
        self.decoders = ExactDecoder(self.exact), StaticDecoder(self.static, self.static.attention)

    def begin(self, slot: int, prompt: list[int], sampling: SamplingParams) -> Talk:
        """Run all of a prompt but its last token."""
        for runner in (self.exact, self.static):
            runner.run([Row(slot, 0, prompt[:-1])])
        return Talk(slot, len(prompt) - 1, prompt[-1], Sampler(sampling, torch.device("cpu")))

    def step(self, talks: list[Talk], rng: random.Random) -> None:
        """Advance replies by one token; both decoders must choose the same."""
        exact, static = self.decoders
        known = [talk.next_token(is_known=True) for talk in talks]
        expected = exact.decode(known).read()
        tokens = [
            token if talk.n_chosen == 0 or rng.random() < 0.3 else replace(token, token_id=LATEST)
            for talk, token in zip(talks, known, strict=True)
        ]
        device = self.static.device
        moved = [
            replace(token, pick=replace(token.pick, allowed=token.pick.allowed.to(device)))
            if token.pick.allowed is not None
            else token
            for token in tokens
        ]
        found = static.decode(moved).read()
        assert found == expected, "ids"
        for talk, token_id in zip(talks, expected, strict=True):
            talk.take(token_id)


def random_prompt_of(rng: random.Random, longest: int) -> list[int]:
    return [rng.randrange(VOCAB_SIZE) for _ in range(rng.randrange(2, longest))]


def decode_at_random(seed: int, device: str = "cpu") -> None:
    """Let replies begin, go on in any company and order, and be replaced, with both decoders."""
    rng = random.Random(seed)
    pair = Pair(device)
    talks: dict[int, Talk] = {}
    for _ in range(25):
        for slot in rng.sample(range(N_SLOTS), rng.randrange(1, 4)):
            if slot not in talks or rng.random() < 0.1:
                talks[slot] = pair.begin(slot, random_prompt_of(rng, 200), random_sampling(rng))
        going = rng.sample(list(talks.values()), rng.randrange(1, len(talks) + 1))
        pair.step(going, rng)
