"""The page's own certificate: made once, kept, made anew when it no longer fits."""

import ssl
import stat

import pytest
from cryptography import x509

from antiphon.demo.certificate import read_certificate, self_signed
from antiphon.errors import ConfigError


def test_it_names_this_machine_and_can_be_served_with(tmp_path):
    made = self_signed("0.0.0.0", tmp_path / "new" / "folder")
    names = read_certificate(made.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "localhost" in names.value.get_values_for_type(x509.DNSName)
    assert "127.0.0.1" in map(str, names.value.get_values_for_type(x509.IPAddress))
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(made.certificate, made.key)
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert len(made.fingerprint.split(":")) == 32


def test_it_is_kept_so_that_browsers_warn_once(tmp_path):
    first = self_signed("localhost", tmp_path).fingerprint
    assert self_signed("localhost", tmp_path).fingerprint == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "page-certificate.pem",
        "page-key.pem",
    ]


def test_another_name_or_a_damaged_file_gives_a_new_one(tmp_path):
    first = self_signed("localhost", tmp_path)
    fingerprint = first.fingerprint
    named = self_signed("voice.example", tmp_path).fingerprint
    assert named != fingerprint
    first.key.write_bytes(b"half a")
    assert self_signed("voice.example", tmp_path).fingerprint != named


def test_the_users_cache_is_where_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert self_signed("localhost").certificate.parent == tmp_path / "antiphon"


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--ssl-certfile"):
        self_signed("localhost", tmp_path / "file")
