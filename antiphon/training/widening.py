"""Carries a small language model over into one with wider feed-forward layers, saying the same.

New units begin with random inputs and no output, so that the wider model starts where the small one
ended. Source: Chen et al., Net2Net (arXiv 1511.05641), the idea of section 2.
"""

from torch import Tensor

from antiphon.errors import ConfigError

GATE_UP, DOWN = "mlp.gate_up_proj.weight", "mlp.down_proj.weight"


def widen_feed_forward(found: dict[str, Tensor], wider: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of a trained model the shapes of a wider one.

    Args:
        found: State of the trained model; `gate_up_proj` (2 f, D) has the f gates first,
            `down_proj` is (D, f).
        wider: Freshly drawn state of the model to fill, with F >= f units; not changed.

    Returns:
        `found` with (2 F, D) and (D, F) in these places, except where D is another.

    Raises:
        ConfigError: If the model to fill is narrower.
    """
    grown = dict(found)
    for name, old in found.items():
        fresh = wider.get(name)
        if fresh is None:
            continue
        if name.endswith(GATE_UP) and old.shape[1] == fresh.shape[1]:
            grown[name] = widen_inputs(name, old, fresh)
        elif name.endswith(DOWN) and old.shape[0] == fresh.shape[0]:
            grown[name] = fresh.new_zeros(fresh.shape)
            grown[name][:, : old.shape[1]] = old
    return grown


def widen_inputs(name: str, old: Tensor, fresh: Tensor) -> Tensor:
    """Put the gates and values of old units (2 f, D) into drawn ones (2 F, D)."""
    n_old, n_new = len(old) // 2, len(fresh) // 2
    if n_new < n_old:
        raise ConfigError(
            f"{name} has {n_old} units in the model to start from and {n_new} in the one to train; "
            f"set d_ff to at least {n_old}"
        )
    grown = fresh.clone()
    grown[:n_old] = old[:n_old]
    grown[n_new : n_new + n_old] = old[n_old:]
    return grown
