"""One request inside the worker: its cache, its sampler and what is left of its prompt.

Knows nothing of queues, threads or other requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import GlmForCausalLM

from antiphon.engine.base import FinishReason, SamplingParams, TokenChunk
from antiphon.engine.kv_cache import KVCache
from antiphon.engine.sampling import Sampler
from antiphon.engine.token_stream import Outbox


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
        max_new_tokens: As asked, or less where the context ends before.
    """

    request_id: str
    session_id: str | None
    prompt: tuple[int, ...]
    sampling: SamplingParams
    max_new_tokens: int
    outbox: Outbox


PREFILL_CHUNK = 512
CPU_PREFILL_CHUNK = 128
"""Prompt tokens computed in one step, so that other replies and cancels need not wait long."""


class ModelRunner:
    """Runs the language model on new tokens of one conversation.

    Attributes:
        device: Where the model lies.
        vocab_size: Rows of its embedding.
        n_layers: Number of its layers.
        prefill_chunk: Most prompt tokens to run at once.
    """

    def __init__(self, model: GlmForCausalLM) -> None:
        """Use a loaded model; only one thread may call `run`."""
        model.train(False)
        self._trunk: nn.Module = model.model
        self._head: nn.Module = model.lm_head
        self.device: torch.device = next(model.parameters()).device
        self.vocab_size = int(model.config.vocab_size)
        self.n_layers = int(model.config.num_hidden_layers)
        self.prefill_chunk = CPU_PREFILL_CHUNK if self.device.type == "cpu" else PREFILL_CHUNK

    def warm_up(self) -> None:
        """Run once, so that the first request does not pay for what is set up on first use."""
        cache = KVCache(self.n_layers)
        self.run((0, 0), cache)
        self.score(self.run((0,), cache))

    @torch.inference_mode()
    def run(self, token_ids: Sequence[int], cache: KVCache) -> Tensor:
        """Run the model on the ids that follow those in `cache`, and store them there.

        Returns:
            Hidden state of the last token, (1, D).
        """
        ids = torch.tensor([token_ids], dtype=torch.long, device=self.device)  # (1, T)
        output = self._trunk(input_ids=ids, past_key_values=cache.layers, use_cache=True)
        cache.append(token_ids)
        return output.last_hidden_state[:, -1]

    @torch.inference_mode()
    def score(self, hidden: Tensor) -> Tensor:
        """Turn a hidden state (1, D) into the logits (V,) of the token after it."""
        return self._head(hidden)[0]


class Generation:
    """A running request, advanced step by step.

    Attributes:
        request: What was asked.
        cache: Keys and values of all tokens run so far.
    """

    def __init__(self, request: Request, runner: ModelRunner, cache: KVCache) -> None:
        """Begin; what `cache` shares with the prompt is not computed again."""
        self.request = request
        self.cache = cache
        self._runner = runner
        self._sampler = Sampler(request.sampling, runner.device)
        self._stop_ids = frozenset(request.sampling.stop_token_ids)
        self._n_generated = 0
        self._pending: tuple[int, ...] = request.prompt[cache.keep_common_prefix(request.prompt) :]

    @property
    def is_prefilling(self) -> bool:
        """True until the first token is generated."""
        return self._n_generated == 0

    def advance(self) -> TokenChunk | None:
        """Run one chunk of the prompt, or generate one token.

        Returns:
            The new token, or None while the prompt is not finished.
        """
        chunk = self._runner.prefill_chunk
        new, self._pending = self._pending[:chunk], self._pending[chunk:]
        hidden = self._runner.run(new, self.cache)
        if self._pending:
            return None
        token_id = self._sampler.sample(self._runner.score(hidden))
        self._pending = (token_id,)
        self._n_generated += 1
        return TokenChunk((token_id,), self._finish_reason(token_id))

    def _finish_reason(self, token_id: int) -> FinishReason | None:
        """Tell whether the reply ends with this token, and why."""
        if token_id in self._stop_ids:
            return "stop"
        return "length" if self._n_generated >= self.request.max_new_tokens else None
