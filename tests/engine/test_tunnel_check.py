"""`pons check` beside this machine's register of tunnels: each disagreement at its place, with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import examine, load
from engine.tunnel import folder_of
from wg.key import make_private_key, public_key
from wg.register import Register, admit, enrol, revoke

THEN = 1_700_000_000.0  # 2023-11-14

HEAD = """\
version: 1
tunnel: {endpoint: "hub.example:51820"}
sites:
"""

Change = Callable[[Register], Register]


def invited(*sites: str) -> Change:
    """Sites get their addresses in this order, from 100.64.0.2 on."""

    def change(register: Register) -> Register:
        for site in sites:
            register, _, token = admit(register, site, THEN)
            register, _ = enrol(register, token, public_key(make_private_key()), THEN)
        return register

    return change


def then_revoked(*sites: str, of: Change) -> Change:
    def change(register: Register) -> Register:
        register = of(register)
        for site in sites:
            register = revoke(register, site, THEN)
        return register

    return change


def found(folder: Path, sites: str, change: Change) -> list[str]:
    """Severity, and the finding as it is printed without its code."""
    path = folder / "routes.yaml"
    path.write_text(HEAD + sites)
    folder_of(load(path, surroundings=False)).change(lambda register: (change(register), None))
    _, findings = examine(path)
    return [f"{one.severity} {one.file}:{one.line}:{one.column}: {one.message}" for one in findings]


NORTH = "  north: {tunnel: 100.64.0.2, ae_titles: [N]}\n"
SOUTH = "  south: {tunnel: 100.64.0.3, ae_titles: [S]}\n"


@pytest.mark.parametrize(
    ("sites", "change", "expected"),
    [
        pytest.param(NORTH + SOUTH, invited("north", "south"), [], id="agree"),
        pytest.param(
            "  north: {tunnel: 100.64.0.9, ae_titles: [N]}\n",
            invited("north"),
            ["warning routes.yaml:4:19: has the tunnel of address 100.64.0.2; write `tunnel: 100.64.0.2`"],
            id="another address",
        ),
        pytest.param(
            "  north: {addresses: [192.0.2.7], ae_titles: [N]}\n",
            invited("north"),
            ["warning routes.yaml:4:10: has the tunnel of address 100.64.0.2; write `tunnel: 100.64.0.2`"],
            id="a tunnel that the table does not use",
        ),
        pytest.param(
            NORTH + SOUTH,
            invited("north"),
            [
                "warning routes.yaml:5:19: has tunnel address 100.64.0.3 and no tunnel; "
                "run `pons site add south`"
            ],
            id="a site without its tunnel",
        ),
        pytest.param(
            NORTH + SOUTH,
            then_revoked("south", of=invited("north", "south")),
            [
                "warning routes.yaml:5:19: its tunnel was revoked on 2023-11-14; remove it from the table, "
                "or run `pons site add south` for another address"
            ],
            id="a revoked site",
        ),
        pytest.param(
            NORTH,
            invited("north", "south"),
            [
                "warning routes.yaml:4:3: site south has a tunnel and is not in the table; add it, "
                "or run `pons site revoke south --yes`"
            ],
            id="a tunnel without its site",
        ),
        pytest.param(
            NORTH.replace("0.2", "0.3") + SOUTH.replace("0.3", "0.2"),
            invited("north", "south"),
            [
                "error routes.yaml:4:19: address 100.64.0.3 was given to site south; "
                "write `tunnel: 100.64.0.2`",
                "error routes.yaml:5:19: address 100.64.0.2 was given to site north; "
                "write `tunnel: 100.64.0.3`",
            ],
            id="one hospital for the other",
        ),
        pytest.param(
            "  west: {tunnel: 100.64.0.2, ae_titles: [W]}\n",
            invited("north"),
            [
                "warning routes.yaml:4:3: site north has a tunnel and is not in the table; add it, "
                "or run `pons site revoke north --yes`",
                "error routes.yaml:4:18: address 100.64.0.2 was given to site north; "
                "run `pons site add west`",
            ],
            id="an address that another site holds",
        ),
    ],
)
def test_where_table_and_register_do_not_agree(
    tmp_path: Path, sites: str, change: Change, expected: list[str]
) -> None:
    assert found(tmp_path, sites, change) == expected


def test_one_hospital_taken_for_the_other_starts_no_engine(tmp_path: Path) -> None:
    found(tmp_path, "  west: {tunnel: 100.64.0.2, ae_titles: [W]}\n", invited("north"))
    table, _ = examine(tmp_path / "routes.yaml")
    assert table is None
    assert load(tmp_path / "routes.yaml", surroundings=False).sites, "and the operator can mend it"


def test_a_register_of_another_block_is_an_error_at_the_tunnel(tmp_path: Path) -> None:
    found(tmp_path, NORTH, invited("north"))
    path = tmp_path / "routes.yaml"
    path.write_text(
        path.read_text().replace('51820"}', '51820", ipv4: 10.90.0.0/16}').replace("100.64", "10.90")
    )
    (finding,) = examine(path)[1]
    assert (finding.severity, finding.line) == ("error", 2)
    assert "addresses were given from 100.64.0.0/16; the block cannot be changed" in finding.message


def test_a_machine_without_a_register_has_nothing_to_say(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(HEAD + NORTH)
    assert examine(path)[1] == []
