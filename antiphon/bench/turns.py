"""What each further turn of a conversation costs before the first token of its reply."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace

from antiphon.bench.asking import ask, greedily
from antiphon.bench.baseline import open_baseline
from antiphon.bench.engine_wrapper import EngineWrapper
from antiphon.bench.options import option
from antiphon.bench.parts import Parts
from antiphon.bench.report import Cell, Figure, Report, Table, ratio
from antiphon.dialogue.session import Session
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.engine.base import Engine, SamplingParams, TokenChunk
from antiphon.engine.slot_pool import Conversation
from antiphon.errors import AntiphonError

WHAT = (
    "Seconds from asking the engine to its first token, turn by turn in one conversation; no sound "
    "is made. New tokens are those of the prompt that are not yet in the conversation as the "
    "engine has run it; the baseline runs the whole prompt."
)
COLUMNS = (
    "turn",
    "prompt tokens",
    "antiphon: new tokens",
    "antiphon: prefill s",
    "baseline: prefill s",
    "baseline / antiphon",
    "turns dropped",
)


@dataclass(frozen=True)
class Options:
    """How long the conversation is."""

    turns: int = option(16, "turns of the conversation")
    max_new_tokens: int = option(40, "most tokens of a reply")


@dataclass(frozen=True)
class TurnCost:
    """One turn: tokens of its prompt, those not run before, and seconds to the first token."""

    n_prompt: int
    n_new: int
    prefill_s: float | None
    n_dropped_turns: int


class CountingEngine(EngineWrapper):
    """Counts which tokens of each prompt are new to its session.

    Attributes:
        n_prompt: Tokens of the last prompt.
        n_new: Those of them that the session's conversation did not hold.
    """

    def __init__(self, engine: Engine) -> None:
        self.n_prompt = self.n_new = 0
        super().__init__(engine)
        self._conversations: dict[str | None, Conversation] = {}

    async def generate(
        self,
        token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
    ) -> AsyncIterator[TokenChunk]:
        """Count, then pass the reply on."""
        conversation = self._conversations.setdefault(session_id, Conversation(0))
        n_kept = conversation.keep_common_prefix(token_ids)
        self.n_prompt, self.n_new = len(token_ids), len(token_ids) - n_kept
        conversation.append(token_ids[n_kept:])
        chunks = self._engine.generate(
            token_ids, sampling, request_id=request_id, session_id=session_id
        )
        last: tuple[int, ...] = ()  # the token chosen last is not run
        async with aclosing(chunks):  # type: ignore[type-var]  # a generator
            async for chunk in chunks:
                conversation.append(last)
                last = chunk.token_ids
                yield chunk


async def converse(
    parts: Parts, pipeline: TurnPipeline, counter: CountingEngine, options: Options
) -> list[TurnCost]:
    """Hold one conversation after a turn that warms up.

    Raises:
        AntiphonError: If a turn fails.
    """
    turn = replace(greedily(options.max_new_tokens, speak=False), max_turns=options.turns)
    session = Session()
    await ask(pipeline, parts.clips[0], turn)
    costs = []
    for number in range(options.turns):
        clip = parts.clips[number % len(parts.clips)]
        trace = await ask(pipeline, clip, turn, session=session)
        if trace.error is not None:
            raise AntiphonError(f"turn {number + 1} failed: {trace.error}")
        n_prompt, n_new = counter.n_prompt, counter.n_new
        costs.append(TurnCost(n_prompt, n_new, trace.prefill_s, trace.n_dropped_turns))
    return costs


async def measure(parts: Parts, options: Options) -> Report:
    """Hold the same conversation with both systems."""
    counters: list[CountingEngine] = []

    def count(engine: Engine) -> CountingEngine:
        counters.append(CountingEngine(engine))
        return counters[-1]

    counted = parts.with_wrap(count)
    async with counted.open_pipeline() as ours, open_baseline(counted) as baseline:
        costs = await converse(parts, ours, counters[0], options)
        theirs = await converse(parts, baseline, counters[1], options)
    rows: list[tuple[Cell, ...]] = []
    for number, (our, their) in enumerate(zip(costs, theirs, strict=True), start=1):
        times = (our.prefill_s, their.prefill_s)
        rows.append((number, our.n_prompt, our.n_new, *times, ratio(*times), our.n_dropped_turns))
    lines = {
        side: [(n, c.prefill_s) for n, c in enumerate(found, start=1) if c.prefill_s is not None]
        for side, found in (("antiphon", costs), ("baseline", theirs))
    }
    figure = Figure("Prefill in a conversation", "turn", "seconds", lines)
    records = [
        {"side": side} | asdict(cost)
        for side, found in (("antiphon", costs), ("baseline", theirs))
        for cost in found
    ]
    return Report(WHAT, (Table("turns", COLUMNS, tuple(rows)),), (figure,), tuple(records))
