"""Links open one file, for a time, to who has them: nothing else, and never a path."""

from __future__ import annotations

import stat
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, select
from starlette.applications import Starlette

from engine.artefact_links import ArtefactDoor, ArtefactLinks, signature, signing_key
from engine.catalog import installed_exports
from engine.errors import ConfigurationError
from engine.model import Algorithm, Artefact, Order, Patient, Report, Result, ResultStatus, StudyReference
from engine.sections import EngineSettings
from engine.store import work
from engine.store.database import Database
from engine.store.tables import audit_events, studies

KEY = b"k" * 32
PICTURE = b"not quite a picture"


def result_of(folder: Path, number: int = 1, status: ResultStatus = ResultStatus.FINAL) -> Result:
    path = folder / "montage.png"
    path.write_bytes(PICTURE)
    artefact = Artefact(
        name="montage.png",
        media_type="image/png",
        path=Path(path.name),
        sha256="7ec46b41c0de4bbbbb3c8be6d91ad5ce2a1c7cba6b5f0d1b9fe4a5f0d4f0d9a1" if number == 9 else "",
    )
    return Result(
        result_id=str(uuid.UUID(int=number)),
        site="st-marys",
        route="mr",
        status=status,
        revision=number,
        produced_at=datetime(2026, 1, 2, tzinfo=UTC),
        patient=Patient(patient_id="P-1"),
        order=Order(),
        study=StudyReference(study_instance_uid="1.2"),
        report=Report(algorithm=Algorithm(name="a", version="1"), artefacts=(artefact,)),
    )


class House:
    """A door with what is behind it, and a maker of links to it."""

    def __init__(self, database: Database, clock: object, folder: Path) -> None:
        self.database, self.clock, self.folder = database, clock, folder
        exports = installed_exports()
        self.links = ArtefactLinks("https://pons.example", KEY, exports)
        self.app = Starlette(routes=[ArtefactDoor(database, clock, folder, KEY, exports).route()])

    async def keep(self, result: Result) -> Result:
        def record(connection: Connection) -> None:
            if connection.execute(select(studies.c.id)).first() is None:
                connection.execute(
                    studies.insert().values(
                        id=1, site="st-marys", study_instance_uid="1.2", state="stable", revision=1,
                        inbound="pacs", calling_ae_title="", called_ae_title="", remote_address="",
                        opened_at=0.0, last_at=0.0,
                    )
                )  # fmt: skip
            work.record_result(
                connection,
                result_id=result.result_id,
                study_id=1,
                study_revision=1,
                lineage="1/a",
                revision=result.revision,
                status=result.status.value,
                supersedes=None,
                shadow=False,
                produced_at=0.0,
                document=result.model_dump(mode="json"),
            )

        await self.database.write(record)
        return result

    def link(self, result: Result, name: str, seconds: float = 60) -> str:
        expires = datetime.fromtimestamp(self.clock.now() + seconds, UTC)
        return next(one.url for one in self.links.links(result, expires) if one.name == name)

    async def get(self, url: str, method: str = "GET") -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://pons.example") as client:
            return await client.request(method, url)

    def handed_out(self) -> list[object]:
        return list(self.database.read_now(lambda c: c.execute(select(audit_events)).all()))


@pytest.fixture
def house(database: Database, clock: object, tmp_path: Path) -> House:
    return House(database, clock, tmp_path)


async def test_a_link_opens_until_it_expires(house: House) -> None:
    result = await house.keep(result_of(house.folder))
    url = house.link(result, "montage.png")
    answer = await house.get(url)
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["content-disposition"] == 'attachment; filename="montage.png"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    house.clock.advance(60)
    assert (await house.get(url)).status_code == 403
    assert len(house.handed_out()) == 1


TAMPERED: list[tuple[str, Callable[[str], str]]] = [
    ("another file", lambda url: url.replace("montage.png", "result.csv")),
    ("another result", lambda url: url.replace(str(uuid.UUID(int=1)), str(uuid.UUID(int=2)))),
    ("a later end", lambda url: url.replace("expires=1", "expires=2")),
    ("no end", lambda url: url.replace("expires=", "until=")),
    ("an end in other digits", lambda url: url.replace("expires=1", "expires=١")),
    ("an end beyond all numbers", lambda url: url.replace("expires=", "expires=" + "9" * 5000)),
    ("no signature", lambda url: url.partition("&signature")[0]),
    ("a signature of other letters", lambda url: url.partition("signature=")[0] + "signature=ä"),
    ("nothing", lambda url: url.partition("?")[0]),
]


@pytest.mark.parametrize("change", [case[1] for case in TAMPERED], ids=[case[0] for case in TAMPERED])
async def test_a_tampered_link_is_refused_and_nothing_is_told(
    house: House, change: Callable[[str], str]
) -> None:
    result = await house.keep(result_of(house.folder))
    answer = await house.get(change(house.link(result, "montage.png")))
    assert (answer.status_code, answer.text) == (403, "this link has expired or is not one of ours\n")
    assert house.handed_out() == []


@pytest.mark.parametrize("name", ["other.png", "..", "../../pons.sqlite", "pons.sqlite", "/etc/passwd"])
async def test_a_genuine_signature_over_a_name_that_is_no_file_of_the_result_finds_nothing(
    house: House, name: str
) -> None:
    result = await house.keep(result_of(house.folder))
    until = int(house.clock.now()) + 60
    sealed = signature(KEY, result.result_id, name, until)
    path = f"/artefacts/{result.result_id}/{name.replace('/', '%2F')}?expires={until}&signature={sealed}"
    assert (await house.get(path)).status_code == 404
    assert house.handed_out() == []


async def test_a_file_that_was_changed_or_removed_is_not_handed_out(house: House) -> None:
    result = await house.keep(result_of(house.folder, number=9))  # its digest is of something else
    assert (await house.get(house.link(result, "montage.png"))).status_code == 404
    (house.folder / "montage.png").unlink()
    assert (await house.get(house.link(result, "montage.png"))).status_code == 404
    assert (await house.get(house.link(result_of(house.folder, 3), "result.csv"))).status_code == 404


async def test_a_version_that_was_retracted_since_is_gone_and_the_retraction_is_there(house: House) -> None:
    first = await house.keep(result_of(house.folder))
    last = await house.keep(result_of(house.folder, 2, ResultStatus.RETRACTED))
    assert (await house.get(house.link(first, "result.txt"))).status_code == 410
    answer = await house.get(house.link(last, "result.txt"))
    assert "RETRACTED - DO NOT USE" in answer.text


async def test_nothing_can_be_put_there(house: House) -> None:
    result = await house.keep(result_of(house.folder))
    assert (await house.get(house.link(result, "montage.png"), "PUT")).status_code == 405


async def test_links_name_every_file_once_with_its_kind(house: House) -> None:
    named = [
        (one.name, one.media_type) for one in house.links.links(result_of(house.folder), datetime.now(UTC))
    ]
    assert named[0] == ("montage.png", "image/png")
    assert len({name for name, _ in named}) == len(named) == 9
    assert {
        urlsplit(one.url).netloc for one in house.links.links(result_of(house.folder), datetime.now(UTC))
    } == {"pons.example"}


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    key = signing_key(tmp_path)
    assert len(key) == 32
    assert signing_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / "link.key").stat().st_mode) == 0o600
    (tmp_path / "link.key").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="not a key of 32 bytes"):
        signing_key(tmp_path)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://pons.example", "https://pons.example"),
        ("https://pons.example:8443/engine/", "https://pons.example:8443/engine"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_a_public_address_is_kept_without_its_last_slash(url: str, kept: str) -> None:
    assert EngineSettings.model_validate({"public_url": url}).public_url == kept


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://pons.example", "must begin with https://"),
        ("pons.example", "must be an address"),
        ("https://user:secret@pons.example", "must be an address"),
        ("https://pons.example/?a=b", "must be an address"),
        ("https://pons.example#x", "must be an address"),
        ("https://pons.example:99999", "must be an address"),
        ("ftp://pons.example", "must be an address"),
        ("https://", "must be an address"),
    ],
)
def test_a_public_address_that_is_none_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        EngineSettings.model_validate({"public_url": url})
