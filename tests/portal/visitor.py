"""A browser as far as the portal can tell: cookies, redirects one by one, forms as they stand in the page.

A `Visitor` follows no redirect by itself, sends what Chromium sends of itself (Fetch Metadata, Origin), and
fills in a form by the names of its fields: what is hidden in it goes along.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pyotp

from tests.e2e.engine import Engine, running_engine

TABLE: Mapping[str, Any] = {
    "sites": {
        "st-marys": {"name": "St. Mary's", "timezone": "Europe/Dublin", "addresses": ["127.0.0.1"]},
        "st-johns": {"name": "St. John's", "timezone": "America/New_York", "addresses": ["127.0.0.2"]},
    },
    "inbound": {
        "web": {"type": "stow_rs"},
        "portal": {"type": "portal", "requests_per_second": 1000, "timezone": "Europe/Lisbon"},
    },
    "routes": [{"name": "all", "otherwise": True, "hold": "nobody takes it"}],
}
PASSWORD = "violet harbour sings loudly"


@dataclass
class Form:
    """One form of a page."""

    action: str
    method: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    """Forms, text, and what a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self._option: str | None = None
        self._select = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attributes}
        form = self.forms[-1] if self.forms else None
        if tag == "form":
            self.forms.append(Form(facts.get("action", ""), facts.get("method", "get").lower()))
        elif tag == "a" and "href" in facts:
            self.links.append(facts["href"])
        elif tag == "select" and form is not None:
            self._select = facts["name"]
        elif tag == "option" and form is not None:
            chosen = form.fields.setdefault(self._select, [facts.get("value", "")])
            if "selected" in facts:
                chosen[:] = [facts.get("value", "")]
        elif tag in ("input", "textarea") and form is not None and "name" in facts:
            if facts.get("type") not in ("checkbox", "radio") or "checked" in facts:
                form.fields.setdefault(facts["name"], []).append(facts.get("value", ""))
            else:
                form.fields.setdefault(facts["name"], [])

    def handle_data(self, data: str) -> None:
        self.text.append(data)


class Visited:
    """An answer, read as a page."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.status = answer.status_code
        reader = _Reader()
        reader.feed(answer.text)
        self.forms, self.links = reader.forms, reader.links
        self.text = " ".join(" ".join(reader.text).split())

    @property
    def location(self) -> str:
        """Where it leads on to."""
        return str(self.answer.headers.get("location", ""))

    def form(self, action: str) -> Form:
        """The one form that is sent there."""
        (found,) = [one for one in self.forms if one.action == action and one.method == "post"]
        return found


class Visitor:
    """Somebody with a browser of his own."""

    def __init__(self, url: str, address: str = "127.0.0.1") -> None:
        self.url = url
        self.http = httpx.Client(
            base_url=url,
            transport=httpx.HTTPTransport(local_address=address),
            timeout=60,
            trust_env=False,
            headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
        )
        self.app: pyotp.TOTP | None = None
        self.codes: list[str] = []

    def get(self, path: str, **options: Any) -> Visited:
        """One page, where it is; not where it leads."""
        headers = {"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document", **options.pop("headers", {})}
        return Visited(self.http.get(path, headers=headers, **options))

    def follow(self, page: Visited) -> Visited:
        """Where a redirect leads, to its end."""
        for _ in range(5):
            if page.status != 303:
                return page
            page = self.get(page.location)
        raise AssertionError(f"round and round: {page.location}")

    def post(self, path: str, fields: Mapping[str, Any], **options: Any) -> Visited:
        """What a form of ours sends."""
        headers = {
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Dest": "document",
            "Origin": self.url,
            **options.pop("headers", {}),
        }
        return Visited(self.http.post(path, data=dict(fields), headers=headers, **options))

    def submit(self, page: Visited, path: str, **typed: Any) -> Visited:
        """Fill in the form of a page that is sent to a path."""
        form = page.form(path)
        unknown = set(typed) - set(form.fields)
        assert not unknown, f"the form has no {unknown}, only {sorted(form.fields)}"
        return self.post(path, {**form.fields, **typed})

    # ── what people do first ──

    def accept(self, invitation: str, password: str = PASSWORD) -> None:
        """Come by an invitation: choose a password, set up an authenticator, be in."""
        path = invitation.removeprefix(self.url)
        page = self.submit_own(self.get(path), path, password=password, again=password)
        assert (page.status, page.location) == (303, "/enrolment"), page.text
        enrolment = self.get("/enrolment")
        assert enrolment.status == 200, enrolment.text
        secret = enrolment.answer.text.partition('<code id="secret">')[2].partition("</code>")[0]
        self.app = pyotp.TOTP(secret.replace(" ", ""))
        shown = self.submit(enrolment, "/enrolment", code=self.app.now())
        assert shown.status == 200, shown.text
        listed = shown.answer.text.partition('<ul class="codes">')[2].partition("</ul>")[0]
        self.codes = [part.partition("</code>")[0] for part in listed.split("<code>")[1:]]
        assert len(self.codes) == 10

    def submit_own(self, page: Visited, path: str, **typed: Any) -> Visited:
        """Fill in the form of a page that is sent to where the page is."""
        return self.post(path, {**page.form("").fields, **typed})

    def first_step(self, username: str, password: str = PASSWORD, target: str = "") -> Visited:
        """Name and password."""
        page = self.get(f"/sign-in?next={target}" if target else "/sign-in")
        return self.submit(page, "/sign-in", username=username, password=password)

    def sign_in_by_recovery_code(self, username: str, password: str = PASSWORD, target: str = "") -> Visited:
        """Both steps; a code of the authenticator is good once in its half minute, so one that is kept."""
        first = self.first_step(username, password, target)
        assert first.status == 303, first.text
        return self.submit(self.get(first.location), "/sign-in/second-factor", code=self.codes.pop())


@contextmanager
def visiting(url: str, address: str = "127.0.0.1") -> Iterator[Visitor]:
    """A browser that is closed at the end."""
    visitor = Visitor(url, address)
    try:
        yield visitor
    finally:
        visitor.http.close()


def invited(engine: Engine, username: str, *roles: str) -> str:
    """The address of an invitation, made on the machine of the engine: `admin`, `viewer@st-marys`."""
    asked = [part for role in roles for part in ("--role", role)]
    return str(engine.json("user", "invite", username, *asked)["address"])


@contextmanager
def serving_portal(
    folder: Path, http_port: int, portal: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[Engine]:
    """A running engine with a portal, and nobody who can sign in.

    Args:
        portal: what its block says besides.
    """
    inbound = {**TABLE["inbound"], "portal": {**TABLE["inbound"]["portal"], **(portal or {})}}
    with running_engine(folder, http_port, 0, {**TABLE, "inbound": inbound}, **options) as engine:
        yield engine


@contextmanager
def signed_in(engine: Engine, username: str, *roles: str, address: str = "127.0.0.1") -> Iterator[Visitor]:
    """Somebody new who has come by his invitation."""
    with visiting(engine.url, address) as visitor:
        visitor.accept(invited(engine, username, *roles))
        yield visitor


def trail(engine: Engine, action: str = "") -> list[dict[str, Any]]:
    """The audit trail as it is on disk, oldest first: all of it, or the events of one action."""
    with closing(sqlite3.connect(f"file:{engine.data / 'pons.sqlite'}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            "SELECT actor, action, subject, detail FROM audit_events ORDER BY id"
        ).fetchall()
    events = [{**dict(row), "detail": json.loads(row["detail"])} for row in rows]
    return [event for event in events if action in ("", event["action"])]
