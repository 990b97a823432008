"""What a destination's settings say against it; more is in broken_tables/destinations-at-odds.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import examine

TABLE = """version: 1
retention: {{keep: {keep}}}
sites: {{a: {{addresses: [10.0.0.1]}}}}
processors: {{qc: {{type: quality_control}}}}
inbound: {{web: {{type: stow_rs}}}}
outbound:
  events: {{type: webhook, site: a, url: "{url}", secret: {{file: secret}}, link_expiry: 3d}}
routes: [{{name: x, from: [web], process: qc, deliver: [events]}}]
"""


def codes(folder: Path, *, keep: str = "90d", url: str = "https://his.hospital.org/events") -> list[str]:
    (folder / "secret").write_text("whsec_" + "A" * 44)
    path = folder / "routes.yaml"
    path.write_text(TABLE.format(keep=keep, url=url))
    return [finding.code for finding in examine(path)[1]]


def test_links_that_outlive_their_files_are_told(tmp_path: Path) -> None:
    assert codes(tmp_path, keep="2d") == ["times-at-odds"]
    assert codes(tmp_path, keep="3d") == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://his.hospital.org/events", ["in-the-clear"]),
        ("http://8.8.8.8/events", ["in-the-clear"]),
        ("http://[2001:4860:4860::8888]/events", ["in-the-clear"]),
        ("https://his.hospital.org/events", []),
        ("http://10.90.7.2/events", []),  # a tunnel's
        ("http://[fd6f:6e73::2]/events", []),
        ("http://his/events", []),  # a name of this network
        ("http://his.hospital.internal/events", []),
        ("http://127.0.0.1:8099/events", []),
        ("http://127.0.0.1:8080/events", ["sends-to-itself"]),
        ("http://localhost:8080/events", ["sends-to-itself"]),
    ],
)
def test_what_crosses_the_internet_is_encrypted_and_ourselves_are_no_receiver(
    tmp_path: Path, url: str, told: list[str]
) -> None:
    assert codes(tmp_path, url=url) == told
