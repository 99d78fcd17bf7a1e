"""What a dtype name means for loading: float32, bfloat16, float16, and int8 or int4 weights.

int8 is LLM.int8() (Dettmers et al. 2022), int4 is NF4 (Dettmers et al. 2023), both by bitsandbytes;
they run on GPU and CPU. Embeddings, norms and the output layer stay in bfloat16.
"""

import importlib
import logging
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError

Quantization = Literal["int8", "int4"]

OUTLIER_THRESHOLD = 6.0
"""Activations above this magnitude stay in 16 bits with int8 weights (Dettmers et al. 2022)."""


INT4_BLOCK_SIZE = 64
"""Weights that share a scale; the CPU kernels take only rows of whole blocks."""


@dataclass(frozen=True)
class LoadArguments:
    """How to hold weights.

    Attributes:
        torch_dtype: Type of the weights that are not quantized, and of the computation.
        quantization: "int8" or "int4" for the linear layers inside the network, else None.
    """

    torch_dtype: torch.dtype
    quantization: Quantization | None = None


DTYPES = {
    "float32": LoadArguments(torch.float32),
    "bfloat16": LoadArguments(torch.bfloat16),
    "float16": LoadArguments(torch.float16),
    "int8": LoadArguments(torch.bfloat16, "int8"),
    "int4": LoadArguments(torch.bfloat16, "int4"),
}


def load_arguments(dtype: str) -> LoadArguments:
    """Translate a dtype name.

    Raises:
        ConfigError: If the name is not one of `DTYPES`; lists them.
    """
    try:
        return DTYPES[dtype]
    except KeyError:
        raise ConfigError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}") from None


def can_quantize(weight: Tensor, arguments: LoadArguments) -> bool:
    """Tell whether a linear layer is to be quantized: int4 needs rows of whole blocks."""
    if arguments.quantization == "int4":
        return weight.shape[1] % INT4_BLOCK_SIZE == 0
    return arguments.quantization == "int8"


def quantize_linear(
    linear: nn.Linear, weight: Tensor, arguments: LoadArguments, device: str | torch.device
) -> nn.Module:
    """Build the quantized form of a linear layer.

    Args:
        linear: The layer to replace; its bias parameter is taken over as it is.
        weight: (out_features, in_features) weights, on any device.
        arguments: What `load_arguments` gave for int8 or int4.
        device: Where the quantized weights go.

    Returns:
        A module with the same call and the same name of its bias.

    Raises:
        ConfigError: If bitsandbytes is not installed.
    """
    bnb = import_bitsandbytes()
    weight = weight.to(arguments.torch_dtype)
    quantized: nn.Module
    with torch.device("meta"):
        if arguments.quantization == "int4":
            quantized = bnb.nn.Linear4bit(
                linear.in_features,
                linear.out_features,
                bias=False,
                compute_dtype=arguments.torch_dtype,
                quant_type="nf4",
            )
        else:
            quantized = bnb.nn.Linear8bitLt(
                linear.in_features,
                linear.out_features,
                bias=False,
                has_fp16_weights=False,
                threshold=OUTLIER_THRESHOLD,
            )
    if arguments.quantization == "int4":
        parameter = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
    else:
        parameter = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    quantized.weight = parameter.to(device)  # bitsandbytes quantizes on this move
    quantized.bias = linear.bias
    return quantized.eval()


def import_bitsandbytes() -> ModuleType:
    """Import bitsandbytes without its noise.

    Raises:
        ConfigError: If it is not installed or does not work here.
    """
    # It warns on every call that int8 casts its inputs, which is how int8 works.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("bitsandbytes")
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"int8 and int4 need bitsandbytes, which cannot be loaded ({error}); "
            "run `pip install bitsandbytes` or choose another dtype"
        ) from error
