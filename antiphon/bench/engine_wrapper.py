"""What engines that stand before another engine share."""

from antiphon.engine.base import Engine, EngineStats


class EngineWrapper:
    """Passes everything but `generate` on to the engine behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def cancel(self, request_id: str) -> None:
        """Pass it on."""
        await self._engine.cancel(request_id)

    def stats(self) -> EngineStats:
        """Ask the engine."""
        return self._engine.stats()

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()
