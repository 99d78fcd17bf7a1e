"""The terminal's side of a call: websocket client, microphone and speaker, what people read."""

from antiphon.talk.call import Call
from antiphon.talk.call_settings import Address, CallSettings
from antiphon.talk.call_state import Reply
from antiphon.talk.playback_buffer import PlaybackBuffer

__all__ = ["Address", "Call", "CallSettings", "PlaybackBuffer", "Reply"]
