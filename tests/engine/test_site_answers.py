"""What may be answered about a hospital, and how a wrong answer is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine import site_answers as answers

COMMAND = {"type": "command", "command": ["run-model", "{in}", "{out}"]}
READ = [  # how, what is typed, what it means
    (answers.key, " st-marys ", "st-marys"),
    (answers.timezone, "Europe/Dublin", "Europe/Dublin"),
    (answers.address, "10.1.0.0/16", "10.1.0.0/16"),
    (answers.ae_title, "STM_PACS", "STM_PACS"),
    (answers.pacs, "10.90.7.2:104:STM PACS", ("10.90.7.2", 104, "STM PACS")),
    (answers.pacs, "[fd00::7]:104:STM", ("fd00::7", 104, "STM")),
    (answers.ris, "his.st-marys.example:2575", ("his.st-marys.example", 2575)),
    (answers.url, "https://fhir.st-marys.example/r4", "https://fhir.st-marys.example/r4"),
    (answers.processor, "quality_control", ("qc", {"type": "quality_control"})),
    (answers.processor, "run-model '{in}' {out}", ("model", COMMAND)),
]
REFUSED = [  # how, what is typed, what is said
    (answers.key, "St. Mary's", "a key has up to 64 lower-case letters"),
    (answers.timezone, "Europe/Dublinn", "did you mean 'Europe/Dublin'?"),
    (answers.address, "10.1.0.1/16", "write 10.1.0.0/16"),
    (answers.ae_title, "A_TITLE_OF_MORE_THAN_16", "an AE title has 1 to 16"),
    (answers.pacs, "10.90.7.2:104", "a PACS is HOST:PORT:AE-TITLE"),
    (answers.pacs, "10.90.7.2:104:A\\B", "an AE title has 1 to 16"),
    (answers.ris, "10.90.7.2:0", "a port is between 1 and 65535"),
    (answers.url, "https://user:word@fhir.example", "without user or password"),
    (answers.variable, "s3cret value", "the name of an environment variable"),
    (answers.processor, "run-model", "a command such as 'run-model {in} {out}'"),
    (answers.processor, "run-model '{in} {out}", "a command such as"),
]


@pytest.mark.parametrize(("how", "typed", "meant"), READ)
def test_an_answer_is_read(how: Callable[[str], Any], typed: str, meant: Any) -> None:
    assert how(typed) == meant


@pytest.mark.parametrize(("how", "typed", "said"), REFUSED)
def test_a_wrong_answer_is_told_how_one_is_written(how: Callable[[str], Any], typed: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        how(typed)
    assert said in str(caught.value)
