"""The verdicts on a table's tests as JUnit XML, for build servers.

Enter: verdicts. Leaves: one document in the shape that Jenkins and GitLab read: `testsuites`,
`testsuite`, a `testcase` with file and line for each test, `failure` where the table does otherwise than
told, `error` where the test could not be run. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from engine.table_tests import Verdict

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def junit(name: str, verdicts: Sequence[Verdict]) -> bytes:
    """The document, UTF-8.

    Args:
        name: of the suite: the table.
    """
    failed = sum(bool(one.differences) and not one.trouble for one in verdicts)
    counts = {
        "tests": str(len(verdicts)),
        "failures": str(failed),
        "errors": str(sum(bool(one.trouble) for one in verdicts)),
        "time": f"{sum(one.seconds for one in verdicts):.3f}",
    }
    root = Element("testsuites", counts)
    suite = SubElement(root, "testsuite", {"name": _clean(name), **counts, "skipped": "0"})
    for verdict in verdicts:
        file, line, _ = verdict.test.position.rsplit(":", 2)
        case = SubElement(
            suite,
            "testcase",
            {
                "classname": _clean(name),
                "name": _clean(verdict.test.name),
                "file": _clean(file),
                "line": line,
                "time": f"{verdict.seconds:.3f}",
            },
        )
        if verdict.passed:
            continue
        kind = "error" if verdict.trouble else "failure"
        lines = verdict.lines
        child = SubElement(case, kind, {"message": _clean(lines[0]), "type": kind})
        child.text = _clean("\n".join(lines))
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _clean(text: str) -> str:
    """Text that XML 1.0 can hold."""
    return _UNPRINTABLE.sub("\ufffd", text)
