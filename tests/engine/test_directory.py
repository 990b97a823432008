"""Who is who, by address and AE title."""

from __future__ import annotations

import pytest

from engine.directory import Directory
from engine.errors import UnknownPeer
from engine.model import Site

SITES = {
    site.key: site
    for site in (
        Site("st-marys", "St. Mary's", addresses=("10.90.7.2",), ae_titles=("STM_PACS", "STM_CT")),
        Site("county", "County", addresses=("10.90.8.0/24", "2001:db8::/64"), ae_titles=("CTY_PACS",)),
        # two departments behind one address: only the AE title tells them apart
        Site("neuro", "Neurology", addresses=("10.90.9.2",), ae_titles=("NEURO",)),
        Site("cardio", "Cardiology", addresses=("10.90.9.2", "10.90.9.3"), ae_titles=("CARDIO",)),
        Site("web-only", "No DICOM", addresses=("10.90.10.2",)),
        Site("mapped", "Mapped", addresses=("::ffff:10.90.11.0/120",), ae_titles=("MAPPED",)),
    )
}

KNOWN: list[tuple[str, str | None, str]] = [
    ("10.90.7.2", "STM_PACS", "st-marys"),
    ("10.90.7.2", " STM_CT ", "st-marys"),  # padding is no part of an AE title (PS3.5 6.2)
    ("10.90.7.2", None, "st-marys"),
    ("::ffff:10.90.7.2", "STM_PACS", "st-marys"),  # IPv4 seen by a socket of both families
    ("10.90.8.77", "CTY_PACS", "county"),
    ("2001:db8::1", "CTY_PACS", "county"),
    ("2001:db8::1%eth0", None, "county"),
    ("10.90.9.2", "NEURO", "neuro"),
    ("10.90.9.2", "CARDIO", "cardio"),
    ("10.90.9.3", None, "cardio"),
    ("10.90.10.2", None, "web-only"),
    ("10.90.11.9", "MAPPED", "mapped"),
]


@pytest.mark.parametrize(("address", "title", "site"), KNOWN)
def test_a_known_peer_is_its_site(address: str, title: str | None, site: str) -> None:
    assert Directory(SITES).identify(address, title).key == site


UNKNOWN: list[tuple[str, str | None, str]] = [
    ("10.90.7.3", "STM_PACS", "address"),
    ("10.90.9.0", None, "address"),
    ("2001:db8:1::1", None, "address"),
    ("his.example", None, "address"),  # a name is no address
    ("", None, "address"),
    ("10.90.7.2", "CTY_PACS", "calling_ae_title"),  # another site's title from this site's address
    ("10.90.7.2", "stm_pacs", "calling_ae_title"),  # exact, case included
    ("10.90.7.2", "", "calling_ae_title"),
    ("10.90.10.2", "ANY", "calling_ae_title"),  # a site without titles sends nothing by C-STORE
    ("10.90.9.2", None, "ambiguous"),
]


@pytest.mark.parametrize(("address", "title", "what"), UNKNOWN)
def test_an_unknown_peer_is_told_what_did_not_match(address: str, title: str | None, what: str) -> None:
    with pytest.raises(UnknownPeer) as caught:
        Directory(SITES).identify(address, title)
    assert caught.value.what == what


def test_a_site_is_found_by_its_key() -> None:
    assert Directory(SITES).get("county") is SITES["county"]
    with pytest.raises(KeyError):
        Directory(SITES).get("nowhere")
