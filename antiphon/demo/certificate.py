"""A certificate of the page's own, for https on machines that have none. Knows nothing of servers.

Browsers give the microphone to https and localhost only. They warn of this certificate once; it is
kept between runs so that they need not be told again.
"""

import datetime as dt
import ipaddress
import os
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from antiphon.errors import ConfigError

VALID_FOR = dt.timedelta(days=397)  # the longest that browsers accept
RENEW_BEFORE = dt.timedelta(days=7)
LOOPBACK = ("localhost", "127.0.0.1", "::1")
COMMON_NAME = "Antiphon"


@dataclass(frozen=True)
class Certificate:
    """Two PEM files: the certificate and its private key, readable by their owner only."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers show it, to compare by eye."""
        digest = read_certificate(self.certificate).fingerprint(hashes.SHA256())
        return digest.hex(":").upper()


def default_folder() -> Path:
    """Give the folder that certificates are kept in, below the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "antiphon"


def self_signed(host: str, folder: Path | None = None) -> Certificate:
    """Give a certificate for this machine, made when there is none that still fits.

    Args:
        host: Address that the page listens on; named in the certificate besides this machine's.
        folder: Where it is kept; None: `default_folder`.

    Raises:
        ConfigError: If the folder cannot be written.
    """
    folder = folder or default_folder()
    kept = Certificate(folder / "page-certificate.pem", folder / "page-key.pem")
    names = names_of(host)
    if not fits(kept, names):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write(kept, names)
        except OSError as error:
            raise ConfigError(
                f"cannot keep a certificate in {folder}: {error.strerror or error}; make the "
                "folder writable or give one with --ssl-certfile and --ssl-keyfile"
            ) from error
    return kept


def names_of(host: str) -> tuple[str, ...]:
    """List the names and addresses this machine is reached by."""
    names = [*LOOPBACK, host, socket.gethostname()]
    with suppress(OSError):  # a machine whose own name nobody knows
        names += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; tells the address that would be used
        names.append(str(probe.getsockname()[0]))
    return tuple(sorted({name.partition("%")[0] for name in names if name}))


def fits(kept: Certificate, names: tuple[str, ...]) -> bool:
    """Tell whether a kept certificate is whole, of these names and valid for a while."""
    try:
        certificate = read_certificate(kept.certificate)
        key = serialization.load_pem_private_key(kept.key.read_bytes(), None)
    except (OSError, ValueError):
        return False
    named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    is_current = certificate.not_valid_after_utc - RENEW_BEFORE > dt.datetime.now(dt.UTC)
    belongs = key.public_key() == certificate.public_key()
    return is_current and belongs and set(alternative_names(names)) <= set(named)


def read_certificate(path: Path) -> x509.Certificate:
    """Read a PEM file; raises OSError or ValueError."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def alternative_names(names: tuple[str, ...]) -> list[x509.GeneralName]:
    """Turn names and addresses into what a certificate says."""
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def write(kept: Certificate, names: tuple[str, ...]) -> None:
    """Make a key and a certificate signed with it; raises OSError."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # clocks of other machines may be behind
        .not_valid_after(now + VALID_FOR - dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternative_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    replace_file(kept.key, private)
    replace_file(kept.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all; raises OSError."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
