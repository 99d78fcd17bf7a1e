"""Dtype names, and quantized layers close to the exact ones."""

import pytest
import torch
from torch import nn

from antiphon.engine.quantization import (
    DTYPES,
    LoadArguments,
    can_quantize,
    load_arguments,
    quantize_linear,
)
from antiphon.errors import ConfigError


def test_names():
    assert list(DTYPES) == ["float32", "bfloat16", "float16", "int8", "int4"]
    assert load_arguments("float16") == LoadArguments(torch.float16)
    assert load_arguments("int4").quantization == "int4"


@pytest.mark.parametrize("name", ["fp32", "", "int2", "Float32"])
def test_unknown_name_is_refused_with_the_list(name):
    with pytest.raises(ConfigError, match="float32, bfloat16, float16, int8, int4"):
        load_arguments(name)


@pytest.mark.parametrize(("name", "tolerance"), [("int8", 0.02), ("int4", 0.12)])
def test_quantized_layer_is_close(name, tolerance):
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(256, 192)
    linear.weight.data.normal_(std=0.05, generator=generator)
    linear.bias.data.normal_(generator=generator)
    x = torch.randn(3, 5, 256, generator=generator)
    arguments = load_arguments(name)
    quantized = quantize_linear(linear, linear.weight.data, arguments, "cpu")
    quantized.bias.data = quantized.bias.data.to(arguments.torch_dtype)
    with torch.inference_mode():
        exact = nn.functional.linear(x, linear.weight, linear.bias.float())
        error = quantized(x.to(arguments.torch_dtype)).float() - exact
    assert error.norm() / (exact - linear.bias.float()).norm() < tolerance
    assert quantized.weight.dtype in (torch.int8, torch.uint8)


def test_int4_needs_rows_of_whole_blocks():
    int4, int8 = load_arguments("int4"), load_arguments("int8")
    assert can_quantize(torch.empty(8, 128), int4)
    assert not can_quantize(torch.empty(8, 160), int4)
    assert can_quantize(torch.empty(8, 160), int8)
    assert not can_quantize(torch.empty(8, 128), load_arguments("bfloat16"))
