"""Chooses the folder in which conversations outlive the page's server, if there is to be one.

Knows the machine's folders and addresses; what is written there is the store's.
"""

import ipaddress
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from antiphon.config import DemoConfig

STATE_VARIABLE = "XDG_STATE_HOME"
LOCAL_NAME = "localhost"

_log = logging.getLogger(__name__)


def find_kept_folder(config: DemoConfig, env: Mapping[str, str] | None = None) -> Path | None:
    """Give the folder that was named, else the user's own where only this machine sees the page.

    Others' recordings are kept only where somebody decided so: on an address that other machines
    reach, or with a public link, nothing is kept unless a folder is named.

    Args:
        config: The page's settings; an empty `conversations` keeps nothing.
        env: Environment variables; None reads the process's.
    """
    if config.conversations is not None:
        return Path(config.conversations).resolve() if config.conversations else None
    if config.share or not is_loopback(config.host):
        return None
    try:
        folder = own_folder(os.environ if env is None else env)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        _log.warning("conversations end with this program: %s", error)
        return None
    return folder


def own_folder(env: Mapping[str, str]) -> Path:
    """Give the folder below the user's state, by the XDG base directory specification.

    Raises:
        RuntimeError: If there is no home folder.
    """
    named = Path(env.get(STATE_VARIABLE, ""))
    state = named if named.is_absolute() else Path.home() / ".local" / "state"
    return state / "antiphon" / "conversations"


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is reached from this machine alone."""
    if host == LOCAL_NAME:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
