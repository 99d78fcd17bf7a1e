"""The exceptions users may see; each says what came, what was expected and what to do."""


class AntiphonError(Exception):
    """Base of every error that is the user's or the environment's, not a bug of ours."""


class AudioError(AntiphonError):
    """Audio that cannot be read or used: empty, corrupt, not finite, of an unknown format."""


class ConfigError(AntiphonError):
    """A setting, flag or configuration file that is not acceptable."""


class CheckpointError(AntiphonError):
    """Weights that are missing, truncated, of the wrong shape or not safe to load."""


class PromptError(AntiphonError):
    """A prompt the model cannot take: empty, too long for the context, ids out of range."""


class EngineError(AntiphonError):
    """The engine could not produce tokens."""


class ServerBusyError(EngineError):
    """The server is full; try again later.

    Attributes:
        queue_length: Requests that wait, where that is known.
        retry_after_s: When there is likely to be room again, where that is known.
    """

    def __init__(
        self,
        message: str,
        *,
        queue_length: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Say what is full and when to come back."""
        super().__init__(message)
        self.queue_length = queue_length
        self.retry_after_s = retry_after_s


class ServerConnectionError(EngineError):
    """The model server does not answer, or went away in the middle of a reply."""


class LaunchError(AntiphonError):
    """A program that the demo runs could not be started, or ended."""


class TrainingError(AntiphonError):
    """A training task that ran in a process of its own failed."""


class SoundDeviceError(AntiphonError):
    """A microphone or speaker that is missing, in use, or went away; or the library for them."""
