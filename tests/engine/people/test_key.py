"""The key of what must be read again: made once, private, given by reference, exchanged."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from engine.people.key import FILE, Key, WrongKey, people_key, read_key
from engine.people_section import PeopleSettings
from engine.settings import Secret


def fresh() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def test_a_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    text = people_key(PeopleSettings(), tmp_path).enciphered("JBSWY3DP")
    assert people_key(PeopleSettings(), tmp_path).deciphered(text) == "JBSWY3DP"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_of_several_that_start_at_once_all_have_one_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from engine.people.key import people_key;"
        "from engine.people_section import PeopleSettings;"
        "print(people_key(PeopleSettings(), Path(sys.argv[1])).digest('name', 'x').hex())"
    )
    starting = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = {process.communicate(timeout=60)[0] for process in starting}
    assert len(said) == 1
    assert said != {""}


def test_what_is_enciphered_says_nothing_and_is_never_the_same() -> None:
    key = Key([fresh()])
    one, other = key.enciphered("JBSWY3DP"), key.enciphered("JBSWY3DP")
    assert one != other
    assert "JBSWY3DP" not in one
    with pytest.raises(WrongKey, match="bring that key back, or reset those people"):
        Key([fresh()]).deciphered(one)
    with pytest.raises(WrongKey):
        key.deciphered(one[:-4] + "AAA=")


def test_digests_are_of_the_key_and_of_a_purpose() -> None:
    key = Key([fresh()])
    assert key.digest("name", "x") == key.digest("name", "x")
    assert len({key.digest("name", "x"), key.digest("state", "x"), Key([fresh()]).digest("name", "x")}) == 3


def test_a_key_is_exchanged_by_a_line_above_the_one_before(tmp_path: Path) -> None:
    before, after = fresh(), fresh()
    text = Key([before]).enciphered("JBSWY3DP")
    file = tmp_path / "key"
    file.write_text(f"{after}\n{before}\n")
    both = people_key(PeopleSettings(key=Secret(file=file)), tmp_path)
    assert both.deciphered(text) == "JBSWY3DP"
    assert Key([after]).deciphered(both.enciphered("JBSWY3DP")) == "JBSWY3DP"
    assert not (tmp_path / FILE).exists()  # the table names one: none is made


@pytest.mark.parametrize("text", ["", "short", "x" * 44, base64.b64encode(b"x" * 31).decode(), "é"])
def test_what_is_no_key_is_told_with_how_one_is_made(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigurationError, match=r"people\.key: no key of 32 bytes in base64; make one by"):
        people_key(PeopleSettings(), tmp_path)


def test_a_key_that_is_not_there_keeps_the_engine_from_starting(tmp_path: Path) -> None:
    settings = PeopleSettings(key=Secret(env="PONS_NO_SUCH_KEY"))
    with pytest.raises(ConfigurationError, match=r"people\.key: environment variable PONS_NO_SUCH_KEY"):
        people_key(settings, tmp_path)


def test_what_a_message_says_makes_a_key(tmp_path: Path) -> None:
    made = subprocess.run(
        ["sh", "-c", "openssl rand -base64 32 | tr +/ -_"], capture_output=True, text=True, check=True
    )
    assert read_key(made.stdout, "people.key").digest("name", "x")
