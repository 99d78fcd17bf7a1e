"""Speech tokens to waveform, at once or block by block, for one reply or many."""

from flow_inference.audio_decoder import AudioDecoder
from flow_inference.block_schedule import BlockSchedule, Crowd, StreamOptions
from flow_inference.decoder_batch import BatchOptions, DecoderBatch
from flow_inference.decoder_service import DecoderService
from flow_inference.stream import DecoderStream

__all__ = [
    "AudioDecoder",
    "BatchOptions",
    "BlockSchedule",
    "Crowd",
    "DecoderBatch",
    "DecoderService",
    "DecoderStream",
    "StreamOptions",
]
