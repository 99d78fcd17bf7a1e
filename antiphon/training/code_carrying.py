"""Carries what a part knows of its speech tokens over to those of another tokenizer.

A tokenizer that goes on learning gives its tokens other meanings. The same sounds as tokens of both
tell which stands for which: what was learned of the old ones is worth keeping. Knows no network.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.training.data import CodeStore
from antiphon.training.lm_data import Codes
from antiphon.training.task import TaskConfig


def shared_places(
    old: Mapping[str, Codes], new: Mapping[str, Codes], n_old: int, n_new: int
) -> Tensor:
    """Tell how often each old token stands where a new one does.

    Args:
        old: Tokens of utterances by name.
        new: Tokens of the same utterances; those of another length are passed over.
        n_old: Number of old tokens.
        n_new: Number of new ones.

    Returns:
        (n_new, n_old) shares, each row adding up to one; a token that comes nowhere gets the shares
        of all places.

    Raises:
        ConfigError: If there is no utterance with tokens of both.
    """
    counts = torch.zeros(n_new * n_old)
    for name, codes in new.items():
        before = old.get(name)
        if before is not None and len(before) == len(codes):
            places = torch.from_numpy(codes).long() * n_old + torch.from_numpy(before).long()
            counts.index_add_(0, places, torch.ones(len(places)))
    table = counts.view(n_new, n_old)
    if not table.any():
        raise ConfigError("old_codes has none of the utterances of the corpus in `data`")
    table = torch.where(table.any(1, keepdim=True), table, table.sum(0))
    return table / table.sum(1, keepdim=True)


def rows_to_start(known: Tensor, fresh: Tensor, config: TaskConfig, n_codes: int) -> Tensor:
    """Choose what a run knows of its speech tokens at first, (n_codes, D).

    Args:
        known: Rows (n_old, D) of the part to start from.
        fresh: Rows (n_codes, D) of a part that knows nothing, for `new_codes`.
        config: With `old_codes` each row is a mean of those known.
        n_codes: Number of speech tokens.
    """
    if not config.old_codes:
        return fresh if config.new_codes else known
    old, new = CodeStore(config.old_codes).load(), CodeStore(config.data).load()
    shares = shared_places(old, new, len(known), n_codes)
    return (shares.to(known.device) @ known.float()).to(known.dtype)
