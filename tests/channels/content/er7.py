"""An ORU message read by the Standard alone, and a result with any words in every place."""

from __future__ import annotations

import re

from engine.model import PersonName, Result

CODECS = {
    # table 0211: who reads it in Python
    "UNICODE UTF-8": "utf-8",
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR87": "iso2022_jp",
}

_UNESCAPED = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}


def unescaped(value: str, codec: str = "utf-8") -> str:
    """The inverse of escaping, written from the Standard (2.7) and not from the encoder."""

    single = "latin-1" if codec == "iso2022_jp" else codec  # a lone ESC is no sequence

    def plain(match: re.Match[str]) -> str:
        code = match[1]
        return bytes.fromhex(code[1:]).decode(single) if code[0] == "X" else _UNESCAPED[code]

    return re.sub(r"\\([FSTRE]|X[0-9A-F]+)\\", plain, value)


class Message:
    """A message split by its delimiters alone."""

    def __init__(self, content: bytes, codec: str = "utf-8") -> None:
        self.codec = codec
        self.text = content.decode(codec)
        assert self.text.endswith("\r")
        self.segments = [one.split("|") for one in self.text.split("\r")[:-1]]

    def all(self, name: str) -> list[list[str]]:
        return [one for one in self.segments if one[0] == name]

    def field(self, name: str, number: int, component: int = 1) -> str:
        segment = self.all(name)[0]
        at = number - 1 if name == "MSH" else number
        if at >= len(segment):
            return ""
        return unescaped([*segment[at].split("~")[0].split("^"), *[""] * 20][component - 1], self.codec)

    def observation(self, identifier: str) -> list[str]:
        return next(one for one in self.all("OBX") if one[3].split("^")[0] == identifier)

    def lines(self, identifier: str) -> str:
        return "\n".join(unescaped(one, self.codec) for one in self.observation(identifier)[5].split("~"))


def writable(words: str, charset: str) -> str:
    """What is left of words in a character set: JIS X 0201's ¥ and ‾ are no part of ISO IR87."""
    codec, kept = CODECS[charset], []
    for character in words:
        alien = charset == "ISO IR87" and character in "\xa5\u203e"
        kept.append("?" if alien or not character.encode(codec, "ignore") else character)
    return "".join(kept)


def filled(full: Result, words: dict[str, str]) -> Result:
    """The full result with these words in their places."""
    remark = full.report.findings[-1]
    algorithm = full.report.algorithm.model_copy(update={"name": words["algorithm"]})
    concept = remark.concept.model_copy(update={"meaning": words["concept"]})
    procedure = full.order.procedure
    assert procedure is not None
    report = full.report.model_copy(
        update={
            **{name: words[name] for name in ("narrative", "impression", "disclaimer")},
            "algorithm": algorithm,
            "findings": (
                remark.model_copy(
                    update={
                        "value": words["value"],
                        "group": words["group"],
                        "comment": words["comment"],
                        "concept": concept,
                    }
                ),
            ),
        }
    )
    order = full.order.model_copy(
        update={
            "placer_order_number": words["placer"],
            "filler_order_number": words["filler"],
            "accession_number": words["accession"],
            "procedure": procedure.model_copy(update={"meaning": words["procedure"]}),
            "requester": PersonName(alphabetic=words["name"]),
        }
    )
    patient = full.patient.model_copy(
        update={"patient_id": words["patient_id"], "name": PersonName(ideographic=words["name"])}
    )
    return full.model_copy(update={"report": report, "order": order, "patient": patient})
