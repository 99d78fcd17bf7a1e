"""Taking the port of a server, with errors in words. Knows nothing of what is served."""

import errno
import socket

from antiphon.errors import ConfigError


def bind_port(host: str, port: int) -> socket.socket:
    """Take a port before anything slow happens; connections are refused until the server listens.

    Raises:
        ConfigError: If the port is in use or the address is not one of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"--host {host!r} is not a known address: {error.strerror}") from error
    # IPv4 first: it is where clients look when they are given a name such as localhost.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use; stop the program that uses it or choose "
                "another with --port"
            ) from error
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener
