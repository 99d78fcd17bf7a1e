"""Speech tokens to waveform, at once or block by block."""

from flow_inference.audio_decoder import AudioDecoder
from flow_inference.block_schedule import BlockSchedule, StreamOptions
from flow_inference.stream import DecoderStream

__all__ = ["AudioDecoder", "BlockSchedule", "DecoderStream", "StreamOptions"]
