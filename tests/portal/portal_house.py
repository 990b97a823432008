"""A running engine with a portal and two hospitals, where things go well, wait for a person, and go wrong.

Of St. Mary's an MR study is judged and told to a webhook receiver and a HIS, which refuses what it is told
to refuse: a dead letter. Anything else is held. St. John's has a webhook receiver of its own. People are
invited on the machine of the engine, as in a hospital, and sign in by what their invitation gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.engine import PATIENT_OF_THE_REAL_STUDY, Engine, running_engine
from tests.e2e.studies import PERSON
from tests.peers.mllp import MllpServer
from tests.peers.webhook import WebhookReceiver
from tests.portal.browser import DESKTOP, Chromium, Window
from tests.portal.visitor import Visitor, invited, visiting

PLACES = {"st-marys": "127.0.0.1", "st-johns": "127.0.0.2"}
RETRY = {"first": "300ms", "cap": "1s"}


def table(his: int, hook: str, johns_hook: str) -> dict[str, Any]:
    """What the engine runs, told where its receivers are."""
    marys = {"site": "st-marys", "retry": RETRY}
    johns = {"site": "st-johns", "retry": RETRY}
    return {
        "assembly": {"stable_after": "1s"},
        "sites": {
            "st-marys": {
                "name": "St. Mary's",
                "timezone": "Europe/Dublin",
                "addresses": [PLACES["st-marys"]],
            },
            "st-johns": {
                "name": "St. John's",
                "timezone": "America/New_York",
                "addresses": [PLACES["st-johns"]],
            },
        },
        "inbound": {
            "portal": {"type": "portal", "timezone": "Europe/Dublin", "requests_per_second": 1000},
            "api": {"type": "rest"},
            "web": {"type": "stow_rs"},
        },
        "processors": {"qc": {"type": "quality_control"}},
        "outbound": {
            "his": {"type": "hl7_oru", **marys, "host": "127.0.0.1", "port": his},
            "hook": {"type": "webhook", **marys, "url": hook, "secret": {"env": "HOOK_SECRET"}},
            "johns-hook": {"type": "webhook", **johns, "url": johns_hook, "secret": {"env": "JOHNS_SECRET"}},
        },
        "routes": [
            {
                "name": "St. Mary's MR",
                "match": {"all": [{"site": "st-marys"}, {"series": {"Modality": "MR"}}]},
                "process": "qc",
                "deliver": ["hook", "his"],
            },
            {
                "name": "St. John's MR",
                "match": {"all": [{"site": "st-johns"}, {"series": {"Modality": "MR"}}]},
                "process": "qc",
                "deliver": ["johns-hook"],
            },
            {"name": "nothing matched", "otherwise": True, "hold": "no route matched"},
        ],
    }


@dataclass
class PortalHouse:
    """The engine, its receivers, and those who can sign in."""

    engine: Engine
    his: MllpServer
    hook: WebhookReceiver
    johns_hook: WebhookReceiver
    _stack: ExitStack
    people: dict[str, Visitor] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the portal is."""
        return self.engine.url

    def person(self, username: str, *roles: str) -> Visitor:
        """Somebody who is signed in; invited with these roles when he is new."""
        if username not in self.people:
            visitor = self._stack.enter_context(visiting(self.url))
            visitor.accept(invited(self.engine, username, *roles))
            self.people[username] = visitor
        return self.people[username]

    @contextmanager
    def window(
        self, browser: Chromium, username: str, *roles: str, size: tuple[int, int] = DESKTOP, **options: Any
    ) -> Iterator[Window]:
        """A window of somebody who is signed in already."""
        cookies = [
            {"name": one.name, "value": one.value, "url": self.url}
            for one in self.person(username, *roles).http.cookies.jar
        ]
        with browser.window(self.url, size, **options) as window:
            window.context.add_cookies(cookies)  # type: ignore[arg-type]  # as the driver documents them
            yield window

    def bring(self, files: Sequence[Path], site: str = "st-marys") -> None:
        """Send a study by STOW-RS from a hospital."""
        parts = b"".join(
            b"--zone\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n"
            for file in files
        )
        with httpx.Client(
            transport=httpx.HTTPTransport(local_address=PLACES[site]), timeout=60, trust_env=False
        ) as client:
            answer = client.post(
                f"{self.url}/dicomweb/studies",
                content=parts + b"--zone--\r\n",
                headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=zone'},
            )
        assert answer.status_code == 200, answer.text

    def audited(self, action: str) -> list[dict[str, Any]]:
        """Events of the trail."""
        found: list[dict[str, Any]] = self.engine.json("audit", "list", "--action", action, "--limit", "500")
        return found


@contextmanager
def serving_house(
    folder: Path,
    free_port: Callable[[], int],
    his_answers: Sequence[str] = (),
    people: Mapping[str, Any] | None = None,
) -> Iterator[PortalHouse]:
    """The engine and its receivers.

    Args:
        his_answers: acknowledgement codes of the first messages that the HIS gets; after them AA.
        people: the table's section of how people sign in.
    """
    with ExitStack() as stack:
        his = MllpServer(folder / "his", free_port(), his_answers)
        stack.callback(his.stop)
        hook, johns_hook = WebhookReceiver(free_port()), WebhookReceiver(free_port())
        for receiver in (hook, johns_hook):
            stack.callback(receiver.stop)
        engine = stack.enter_context(
            running_engine(
                folder / "engine",
                free_port(),
                free_port(),
                {**table(his.port, hook.url, johns_hook.url), **({"people": dict(people)} if people else {})},
                patient_data=(*PATIENT_OF_THE_REAL_STUDY, *PERSON.words),
                environment={"HOOK_SECRET": hook.secret, "JOHNS_SECRET": johns_hook.secret},
            )
        )
        yield PortalHouse(engine, his, hook, johns_hook, stack)
        assert his.faults == []
