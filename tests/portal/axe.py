"""axe-core on a page as it is shown: what keeps out who has a screen reader, a keyboard or weak eyes.

The rules are those of WCAG 2.1 A and AA and of good practice. The script is evaluated by the debugger,
which the page's content security policy does not bind.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

SCRIPT = Path(__file__).parents[1] / "peers" / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = ("serious", "critical")
RULES = '["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]'
CONTRAST = '{type: "rule", values: ["color-contrast"]}'  # all that another colour scheme changes
_RUN = """axe.run(document, {
    runOnly: %s,
    resultTypes: ["violations"],
}).then(found => JSON.stringify({
    passes: found.passes.length,
    violations: found.violations.map(one => ({
        id: one.id, impact: one.impact, help: one.help,
        nodes: one.nodes.slice(0, 5).map(node => `${node.target.join(" ")}: ${node.failureSummary}`),
    })),
}))"""


@cache
def _script() -> str:
    assert SCRIPT.is_file(), "axe-core is missing: run make peers"
    return SCRIPT.read_text()


def violations(page: Page, rules: str = RULES) -> list[dict[str, Any]]:
    """Each serious or critical violation: rule, impact, what it says, where.

    Args:
        rules: what is looked for, as axe-core is told it.
    """
    debugger = page.context.new_cdp_session(page)
    try:
        _evaluate(debugger, f"{_script()};0")
        found = json.loads(_evaluate(debugger, _RUN.replace("%s", rules)))
    finally:
        debugger.detach()
    assert found["passes"], "axe-core looked at nothing"
    return [one for one in found["violations"] if one["impact"] in GRAVE]


def _evaluate(debugger: Any, expression: str) -> Any:
    answer = debugger.send(
        "Runtime.evaluate", {"expression": expression, "awaitPromise": True, "returnByValue": True}
    )
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    return answer["result"]["value"]
