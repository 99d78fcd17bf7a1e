"""On a CUDA device the decoder says what it says on a CPU, and works beside other work."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cosyvoice.flow.solving import Solving
from flow_inference import AudioDecoder, DecoderService
from flow_inference.decoder_service import stream_of_its_own
from tests.conftest import NO_CUDA

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA),
]


@pytest.fixture(scope="module")
def decoders(tiny_checkpoints: Path) -> Iterator[dict[str, AudioDecoder]]:
    """The same weights on both, products in full single precision."""
    was_allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield {
        device: AudioDecoder.from_pretrained(tiny_checkpoints / "decoder", device, Solving(2))
        for device in ("cpu", "cuda")
    }
    torch.backends.cudnn.allow_tf32 = was_allowed


def speak(service: DecoderService, seed: int) -> Tensor:
    tokens = torch.randint(0, 64, (40 + seed,), generator=torch.Generator().manual_seed(seed))
    with service.open_stream(seed=seed) as stream:
        return torch.cat([stream.push(tokens), stream.flush()])


def test_many_replies_sound_as_on_a_cpu(decoders: dict[str, AudioDecoder]) -> None:
    found = {}
    for device, decoder in decoders.items():
        with DecoderService(decoder) as service, ThreadPoolExecutor(6) as threads:
            found[device] = list(threads.map(lambda seed: speak(service, seed), range(6)))
    for cpu, cuda in zip(found["cpu"], found["cuda"], strict=True):
        assert cuda.device.type == "cpu"
        torch.testing.assert_close(cuda, cpu, atol=1e-3, rtol=0)


def test_its_work_is_not_on_the_default_stream() -> None:
    before = torch.cuda.current_stream()
    with stream_of_its_own("cuda"):
        assert torch.cuda.current_stream() not in (before, torch.cuda.default_stream())
    assert torch.cuda.current_stream() == before


def test_a_block_waits_for_no_other_stream(decoders: dict[str, AudioDecoder]) -> None:
    """Work of a second or more on the default stream goes on while a block is decoded."""
    with DecoderService(decoders["cuda"]) as service:
        speak(service, 0)  # warm-up
        torch.cuda.synchronize()
        torch.cuda._sleep(4_000_000_000)
        busy = torch.cuda.Event()
        busy.record()
        speak(service, 1)
        assert not busy.query()
    torch.cuda.synchronize()
