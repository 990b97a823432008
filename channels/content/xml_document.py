"""A result as XML 1.0, for programs that read nothing else.

Enter: a result. Leave: UTF-8 XML in the namespace `urn:pons:result:1`. The elements are the keys of the
JSON document, in its order; a list is its element repeated under the key; what is empty is left out, and
so are the source's DICOM header and the places of artefacts. There is no DTD and no entity beyond the
predefined ones. A character that XML 1.0 cannot hold (section 2.2) becomes U+FFFD; line ends become LF,
as any XML parser would make them.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree  # only written here, never parsed

from channels.content.json_document import document
from engine.channel import ExportType
from engine.model import Result

NAMESPACE = "urn:pons:result:1"

_NO_CHARACTER = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def export(result: Result) -> bytes:
    """The document, indented."""
    plain = document(result)
    del plain["study"]["header"]
    for artefact in plain["report"]["artefacts"]:
        del artefact["path"]
    root = ElementTree.Element("result", {"xmlns": NAMESPACE})
    for key, value in plain.items():
        _append(root, key, value)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _append(parent: ElementTree.Element, key: str, value: Any) -> None:
    if value is None or value in ("", [], {}):
        return
    if isinstance(value, list):
        for one in value:
            _append(parent, key, one)
        return
    element = ElementTree.SubElement(parent, key)
    if isinstance(value, dict):
        for name, inner in value.items():
            _append(element, name, inner)
        if len(element) == 0:
            parent.remove(element)
        return
    element.text = _characters(str(value))


def _characters(value: str) -> str:
    return _NO_CHARACTER.sub("\ufffd", value.replace("\r\n", "\n").replace("\r", "\n"))


EXPORT = ExportType("xml", "application/xml", ".xml", export)
