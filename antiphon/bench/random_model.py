"""Models with random weights in a given shape, for machines without a checkpoint.

Cost depends on shapes alone. As random weights would not say text and speech in turns, an engine
around the real one names its tokens by the published rhythm.
"""

import tempfile
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import GlmForCausalLM

from antiphon.bench.engine_wrapper import EngineWrapper
from antiphon.bench.parts import CLIP_RATE, Parts
from antiphon.dialogue.prompt import N_AUDIO_BLOCK, N_TEXT_BLOCK, first_special_id
from antiphon.engine.base import Engine, SamplingParams, TokenChunk
from antiphon.engine.quantization import can_quantize, load_arguments, quantize_linear
from antiphon.models.base import TokenLayout
from antiphon.models.glm4voice.language_config import JsonObject, chatglm_to_glm
from antiphon.models.glm4voice.language_model import build_empty_model
from antiphon.models.glm4voice.loader import ModelPaths
from antiphon.models.glm4voice.spec import PROMPT_PREFIX, STOP_TOKENS, official_special_ids
from antiphon.models.registry import ModelBundle
from antiphon.training.decoder_config import FlowSizes, render_flow, render_vocoder, write_config
from cosyvoice.config import load_decoder_config
from flow_inference import AudioDecoder
from speech_tokenizer import SpeechTokenizer
from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.modeling_whisper import WhisperVQEncoder

INIT_STD = 0.02
N_CLIPS, CLIP_S = 4, 4.0


@dataclass(frozen=True)
class Shape:
    """The sizes of all parts.

    Attributes:
        language_model: Fields of a ChatGLM config.json.
        n_text: Text tokens; special and speech tokens follow as in the official vocabulary.
        speech_tokenizer: Sizes of the speech tokenizer; its codes are the speech tokens.
        flow: Sizes of the decoder.
        vocoder: Arguments of the vocoder.
        f0_channels: Width of its pitch predictor.
    """

    language_model: JsonObject
    n_text: int
    speech_tokenizer: WhisperVQConfig
    flow: FlowSizes
    vocoder: Mapping[str, object]
    f0_channels: int


def official_shape() -> Shape:
    """Give the sizes of GLM-4-Voice.

    Source: config.json and config.yaml of the public checkpoints glm-4-voice-9b, -tokenizer and
    -decoder.
    """
    return Shape(
        language_model={
            "num_layers": 40,
            "hidden_size": 4096,
            "ffn_hidden_size": 13_696,
            "num_attention_heads": 32,
            "kv_channels": 128,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "padded_vocab_size": 168_960,
            "layernorm_epsilon": 3.90625e-08,
            "add_qkv_bias": True,
            "seq_length": 8192,
        },
        n_text=151_329,
        speech_tokenizer=WhisperVQConfig(),
        flow=FlowSizes(
            vocab_size=16_384,
            width=512,
            encoder_heads=8,
            linear_units=2048,
            encoder_layers=6,
            channels=(256, 256),
            head_dim=64,
            estimator_heads=8,
            n_blocks=4,
            n_mid_blocks=12,
            guidance=0.7,
        ),
        vocoder={
            "in_channels": 80,
            "base_channels": 512,
            "nb_harmonics": 8,
            "sampling_rate": 22_050,
            "nsf_alpha": 0.1,
            "nsf_sigma": 0.003,
            "nsf_voiced_threshold": 10,
            "upsample_rates": [8, 8],
            "upsample_kernel_sizes": [16, 16],
            "istft_params": {"n_fft": 16, "hop_len": 4},
            "resblock_kernel_sizes": [3, 7, 11],
            "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
            "source_resblock_kernel_sizes": [7, 11],
            "source_resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
            "lrelu_slope": 0.1,
            "audio_limit": 0.99,
        },
        f0_channels=512,
    )


class WordTokenizer:
    """A `DialogueTokenizer` with one text id for each word; it cannot tell words from ids."""

    def __init__(self, layout: TokenLayout) -> None:
        self.layout = layout
        self._n_text = first_special_id(layout)

    def encode(self, text: str) -> list[int]:
        """Number the words."""
        return [zlib.crc32(word.encode()) % self._n_text for word in text.split()]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Write something for each id."""
        return "".join(f" word{token_id}" for token_id in token_ids)


@dataclass
class Conversation:
    """The tokens of one session as the engine said them, and as they were passed on."""

    raw: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)

    def raw_prompt(self, token_ids: Sequence[int]) -> list[int]:
        """Put back what the engine said where a prompt repeats what was shown."""
        n_same = 0
        for ours, theirs in zip(self.shown, token_ids, strict=False):
            if ours != theirs:
                break
            n_same += 1
        return [*self.raw[:n_same], *token_ids[n_same:]]


class RhythmEngine(EngineWrapper):
    """Names the tokens of an engine: 13 of text, 26 of speech, and so on up to the limit.

    The engine meets its own tokens again in the next prompt, so that what it keeps is of use.
    """

    def __init__(self, engine: Engine, layout: TokenLayout) -> None:
        super().__init__(engine)
        self._layout = layout
        self._n_text = first_special_id(layout)
        self._conversations: dict[str | None, Conversation] = {}

    async def generate(
        self,
        token_ids: Sequence[int],
        sampling: SamplingParams,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
    ) -> AsyncIterator[TokenChunk]:
        """Yield the reply under other names; it ends at `max_new_tokens`."""
        known = self._conversations.get(session_id, Conversation())
        talk = Conversation(known.raw_prompt(token_ids), list(token_ids))
        n_prompt = len(token_ids)
        endless = replace(sampling, stop_token_ids=())
        chunks = self._engine.generate(
            tuple(talk.raw), endless, request_id=request_id, session_id=session_id
        )
        try:
            async with aclosing(chunks):  # type: ignore[type-var]  # a generator
                async for chunk in chunks:
                    first = len(talk.shown) - n_prompt
                    named = [self._name(first + i, raw) for i, raw in enumerate(chunk.token_ids)]
                    talk.raw += chunk.token_ids
                    talk.shown += named
                    yield TokenChunk(tuple(named), chunk.finish_reason)
        finally:
            if session_id is not None:
                self._conversations[session_id] = talk

    def _name(self, place: int, raw: int) -> int:
        """Make a text or speech token of any token, by its place in the reply."""
        if place % (N_TEXT_BLOCK + N_AUDIO_BLOCK) < N_TEXT_BLOCK:
            return raw % self._n_text
        return self._layout.audio_0 + raw % self._layout.n_audio


def make_layout(shape: Shape) -> TokenLayout:
    """Place special and speech tokens as the official vocabulary does."""
    ids = official_special_ids(shape.n_text, shape.flow.vocab_size)
    config = chatglm_to_glm(shape.language_model, "random model")
    return TokenLayout(
        prefix=tuple(ids[token] for token in PROMPT_PREFIX),
        system=ids["<|system|>"],
        user=ids["<|user|>"],
        assistant=ids["<|assistant|>"],
        observation=ids["<|observation|>"],
        begin_of_audio=ids["<|begin_of_audio|>"],
        end_of_audio=ids["<|end_of_audio|>"],
        audio_0=ids["<|audio_0|>"],
        n_audio=shape.flow.vocab_size,
        stop=tuple(ids[token] for token in STOP_TOKENS),
        vocab_size=config.vocab_size,
        context_length=config.max_position_embeddings,
    )


def make_language_model(
    fields: JsonObject, device: torch.device, dtype: torch.dtype
) -> GlmForCausalLM:
    """Fill a language model with random weights, on the device itself."""
    config = chatglm_to_glm(fields, "random model")
    model = build_empty_model(config)
    model.to(dtype=dtype)  # type: ignore[call-arg]  # decorated without its arguments
    model.to_empty(device=device)
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    generator = torch.Generator(device).manual_seed(1)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.fill_(1.0)
        else:
            parameter.data.normal_(std=INIT_STD, generator=generator)
    model.requires_grad_(False)
    model.train(mode=False)
    return model


def quantize_layers(model: GlmForCausalLM, dtype: str) -> None:
    """Quantize the linear layers of a model where they lie, those that can be."""
    arguments = load_arguments(dtype)
    for layer in model.model.layers:
        for module in (layer.self_attn, layer.mlp):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear) and can_quantize(child.weight, arguments):
                    weight, device = child.weight.data, child.weight.device
                    setattr(module, name, quantize_linear(child, weight, arguments, device))


def make_speech_tokenizer(config: WhisperVQConfig, device: torch.device) -> SpeechTokenizer:
    """Build a speech tokenizer with random weights."""
    with device:
        model = WhisperVQEncoder(config)
    generator = torch.Generator(device).manual_seed(2)
    model.codebook.weight.data.normal_(generator=generator)
    return SpeechTokenizer(model.requires_grad_(False))


def make_decoder(shape: Shape, device: torch.device) -> AudioDecoder:
    """Build a decoder and a vocoder with random weights."""
    text = render_flow(shape.flow) + render_vocoder(shape.vocoder, shape.f0_channels)
    with tempfile.TemporaryDirectory() as folder:
        parts = load_decoder_config(write_config(text, Path(folder)))
    parts.hift.remove_weight_norm()
    return AudioDecoder(parts.flow, parts.hift, parts.sample_rate, str(device))


def make_parts(shape: Shape, device: torch.device, dtype: torch.dtype) -> Parts:
    """Build all parts with random weights, and clips of noise to ask."""
    layout = make_layout(shape)
    noise = np.random.default_rng(3).normal(0.0, 0.1, (N_CLIPS, int(CLIP_S * CLIP_RATE)))
    bundle = ModelBundle(
        paths=ModelPaths("random", "random", "random"),
        text_tokenizer=WordTokenizer(layout),
        speech_tokenizer=make_speech_tokenizer(shape.speech_tokenizer, device),
        decoder=make_decoder(shape, device),
        language_model=make_language_model(shape.language_model, device, dtype),
    )
    return Parts(
        bundle=bundle,
        clips=tuple(noise.astype(np.float32)),
        wrap=lambda engine: RhythmEngine(engine, layout),
    )
