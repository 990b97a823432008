"""Where signing keys live: made once, private, exchanged while the engine runs, never half."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from engine.oauth.key_store import CLOCKS, FILE, key_store, rotate
from engine.oauth.signing_key import new_pem
from engine.oauth_section import OAuthSettings
from engine.settings import Secret

NOW = 1_700_000_000.0


def test_a_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    first = key_store(OAuthSettings(), tmp_path, NOW).ring()
    again = key_store(OAuthSettings(), tmp_path, NOW).ring()
    assert first.signer.key_id == again.signer.key_id
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_of_several_that_start_at_once_all_have_one_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from engine.oauth.key_store import key_store;"
        "from engine.oauth_section import OAuthSettings;"
        "print(key_store(OAuthSettings(), Path(sys.argv[1]), 0.0).ring().signer.key_id)"
    )
    starting = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate(timeout=60)[0] for process in starting}
    assert len(said) == 1
    assert said != {""}


def test_after_a_rotation_a_new_key_signs_and_the_one_before_verifies(tmp_path: Path) -> None:
    store = key_store(OAuthSettings(), tmp_path, NOW)
    before = store.ring().signer
    key_id, until = rotate(tmp_path, NOW, 3600)
    ring = store.ring()  # of the same engine, which was not told
    assert (ring.signer.key_id, until) == (key_id, NOW + 3600 + CLOCKS)
    assert ring.find(before.key_id, until - 1) is not None
    assert ring.find(before.key_id, until) is None
    rotate(tmp_path, until, 3600)
    assert [one.key_id for one in store.ring().keys][1:] == [key_id]  # what has ended is forgotten


def test_a_file_that_breaks_leaves_the_keys_as_they_were(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = key_store(OAuthSettings(), tmp_path, NOW)
    before = store.ring().signer.key_id
    (tmp_path / FILE).write_text("{}")
    with caplog.at_level(logging.ERROR):
        assert store.ring().signer.key_id == before
        assert store.ring().signer.key_id == before
    assert [record.message for record in caplog.records] == ["signing keys stay as they were"]
    with pytest.raises(ConfigurationError, match="holds no keys; remove it"):
        key_store(OAuthSettings(), tmp_path, NOW).ring()


def pem(path: Path) -> Secret:
    path.write_text(new_pem())
    return Secret(file=path)


def test_a_table_names_keys_and_which_of_them_signs(tmp_path: Path) -> None:
    one, other = pem(tmp_path / "one.pem"), pem(tmp_path / "other.pem")
    ids = {
        name: key_store(OAuthSettings(signing_key=key), tmp_path, NOW).ring().signer.key_id
        for name, key in (("one", one), ("other", other))
    }
    store = key_store(OAuthSettings(signing_key=one, verifying_keys=(other,)), tmp_path / "data", NOW)
    assert [key.key_id for key in store.ring().keys] == [ids["one"], ids["other"]]
    assert not (tmp_path / "data").exists()  # nothing is made beside it
    assert one.file is not None
    one.file.write_text(new_pem())
    assert store.ring().signer.key_id not in ids.values()  # it was replaced where it lies


def test_openssl_makes_a_key_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    assert key_store(OAuthSettings(signing_key=Secret(file=path)), tmp_path, NOW).ring().signer.private


@pytest.mark.parametrize("content", ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_what_is_no_key_keeps_an_engine_from_starting(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.pem"
    path.write_text(content)
    with pytest.raises(
        ConfigurationError, match=r"oauth\.signing_key: no unencrypted private key of EC P-256"
    ):
        key_store(OAuthSettings(signing_key=Secret(file=path)), tmp_path, NOW).ring()
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"oauth\.signing_key: secret file .* cannot be read"):
        key_store(OAuthSettings(signing_key=Secret(file=path)), tmp_path, NOW).ring()


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", path], check=True)
    with pytest.raises(ConfigurationError, match="EC P-256"):
        key_store(OAuthSettings(signing_key=Secret(file=path)), tmp_path, NOW).ring()
