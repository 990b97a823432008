"""The hub without root: the tunnels' service changes the network and nothing else, the engine not even that.

Everything here happens under the two systemd units: whose user, capabilities, files and system calls are as
the units say. The site's end is set up by its own people, from inside, with nothing but a token.
"""

from __future__ import annotations

import json
import os
import pwd
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.studies import small_study
from tests.peers.process import wait_until
from tests.tunnel.as_unit import read_unit
from tests.tunnel.openings import opened
from tests.tunnel.rig import HL7, HTTP, HUB
from tests.tunnel.sealed import SITES, USER, SealedRig
from wg.block import Block
from wg.key import make_private_key, public_key
from wg.register import Register, SiteTunnel
from wg.store import TunnelFolder

pytestmark = [pytest.mark.tunnel, pytest.mark.peers]

NET_ADMIN = 1 << 12  # capability.h
NOBODY = str(pwd.getpwnam(USER).pw_uid)
PUBLIC_KEY = public_key(make_private_key())
REFUSED = "the enrolment token is not valid; ask for a new one"


def processes(word: str) -> dict[int, dict[str, str]]:
    """Those with the word in their argument list: /proc/PID/status of each."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                lines = (folder / "status").read_text().splitlines()
                found[int(folder.name)] = {k: v.strip() for k, _, v in (one.partition(":") for one in lines)}
        except OSError:
            continue
    return found


def token_of(sealed: SealedRig, *command: str) -> str:
    """The one that the operator reads out."""
    token: str = sealed.pons(*command).split()[-1]
    return token


def entry(sealed: SealedRig) -> SiteTunnel:
    return TunnelFolder(sealed.folder / "tunnel", Block()).load().site("a")


def test_each_service_has_the_rights_of_its_unit_and_no_more(sealed: SealedRig) -> None:
    rights = {
        str(sealed.table): 0,  # the engine, and the tunnels' service
        sealed.hub.interface: NET_ADMIN,  # wireguard-go
    }
    seen: dict[str, list[int]] = {}
    for word in rights:
        for facts in processes(word).values():
            assert facts["Uid"].split() == [NOBODY] * 4
            assert facts["NoNewPrivs"] == "1"
            assert facts["Seccomp"] == "2"
            sets = {facts[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
            assert len(sets) == 1
            seen.setdefault(word, []).append(int(sets.pop(), 16))
    assert sorted(seen[str(sealed.table)]) == [0, NET_ADMIN], "engine, and tunnel watch"
    assert set(seen[sealed.hub.interface]) == {NET_ADMIN}


def test_the_units_are_what_is_run(sealed: SealedRig) -> None:
    tunnel, engine = (read_unit(sealed.folder / f"{name}.service") for name in ("pons-tunnel", "pons"))
    assert (tunnel["AmbientCapabilities"], tunnel["CapabilityBoundingSet"]) == ("CAP_NET_ADMIN",) * 2
    assert (engine["AmbientCapabilities"], engine["CapabilityBoundingSet"]) == ("", "")
    assert tunnel["KillMode"] == "process", "or systemd would end wireguard-go with the service"


def test_a_gateway_fetches_its_kit_with_its_token_and_a_study_comes_and_goes(
    sealed: SealedRig, real_study: Path, tmp_path: Path
) -> None:
    token = token_of(sealed, "site", "add", "a")
    said = sealed.join_by_token("a", token, sealed.public_url)
    kit = sealed.folder / "site-a" / "kit"
    files = ["README.txt", "pons-site.nft", "pons0.conf", "pons0.key"]
    assert sorted(path.name for path in kit.iterdir()) == files, said
    assert {path.stat().st_mode & 0o777 for path in kit.iterdir()} == {0o600}
    private = (kit / "pons0.key").read_text().strip()
    assert private not in said
    assert entry(sealed).state == "enrolled"
    sealed.site_up("a")
    sealed.meet("a")
    pacs, his = sealed.receive("a", SITES["a"]["tunnel"])
    study = small_study(real_study, tmp_path / "study")
    assert set(sealed.storescu("a", study).values()) == {"Success"}
    wait_until(lambda: list(his.glob("*.hl7")) and list(pacs.glob("SR*")), "SR and ORU at the site", 90)


def test_a_token_that_is_wrong_used_or_old_is_refused_alike_and_on_the_trail(sealed: SealedRig) -> None:
    before = entry(sealed)
    used = token_of(sealed, "site", "add", "a")
    assert "403" not in sealed.rotate_by_token("a", used, f"http://{HUB}:{HTTP}")
    wait_until(lambda: entry(sealed).public_key != before.public_key, "the new key to take over", 30)
    old = token_of(sealed, "site", "rotate", "a")
    TunnelFolder(sealed.folder / "tunnel", Block()).change(_expire)
    standing = entry(sealed)
    key = (sealed.folder / "site-a" / "kit" / "pons0.key").read_text()
    assert "403" in sealed.rotate_by_token("a", used, f"http://{HUB}:{HTTP}")
    answers = {
        sealed.site("a").run(
            "curl", "-sS", "-d", "@-", f"http://{HUB}:{HTTP}/tunnel/enrol",
            stdin=json.dumps({"token": wrong, "public_key": PUBLIC_KEY}),
        )
        for wrong in ("", "guessed", used, old, old[:-1], old.swapcase())
    }  # fmt: skip
    assert [json.loads(one) for one in answers] == [{"status": 403, "detail": REFUSED}]
    assert entry(sealed) == standing
    assert (sealed.folder / "site-a" / "kit" / "pons0.key").read_text() == key, "the gateway keeps its own"
    wait_until(lambda: len(turned_away(sealed)) > 0, "the audit event", 30)
    (event, *_) = turned_away(sealed)
    assert (event["actor"], event["subject"]) == (SITES["a"]["tunnel"], "inbound enrolment")
    assert not [token for token in (used, old) if token in json.dumps(sealed.json("audit", "list"))]
    assert not [token for token in (used, old) if token in sealed.log_text()]
    sealed.meet("a")


def turned_away(sealed: SealedRig) -> list[dict[str, Any]]:
    return [one for one in sealed.json("audit", "list") if one["action"] == "peer turned away"]


def _expire(known: Register) -> tuple[Register, None]:
    return known.with_site(replace(known.site("a"), token_expires_at=time.time() - 1)), None


def test_every_command_of_the_tunnel_does_with_one_right(sealed: SealedRig) -> None:
    name = sealed.hub.interface
    assert sealed.pons("tunnel", "up") == f"{name} is up with 1 sites, 0 peers changed\n"
    assert sealed.pons("tunnel", "sync") == f"{name}: 0 peers changed\n"
    assert sealed.pons("tunnel", "save") == f"{name}: endpoints saved\n"
    assert entry(sealed).endpoint.startswith(sealed.site("a").address)
    assert sealed.heard("a")


def test_the_engine_cannot_touch_the_network(sealed: SealedRig) -> None:
    said = sealed.run_as("pons", "tunnel", "down", expect=1)
    assert "ip link delete" in said
    assert "Traceback" not in said
    assert sealed.heard("a") is True


def test_a_probe_measures_from_a_shell_and_says_why_it_cannot_from_a_unit(sealed: SealedRig) -> None:
    said = sealed.pons("tunnel", "status", "--probe", expect=1)
    assert said == "ping may not be run by this process: probe from a shell, not from a unit\n"
    (row,) = json.loads(sealed.shell("tunnel", "status", "a", "--probe", "--json"))
    assert (row["loss %"], row["mtu"]) == (0.0, 1280)
    assert row["round trip ms"] > 0
    assert 0 <= row["handshake age s"] < 180


def test_a_service_that_only_waits_opens_no_file_of_its_own(sealed: SealedRig) -> None:
    files = (sealed.table, sealed.folder / "tunnel" / "register.json")
    with opened(files) as openings:
        assert openings.within(1.5) == [], "seven looks, and nothing had changed"
        sealed.table.touch()
        assert sealed.table in openings.within(30, until=sealed.table), "a changed table is read again"


def test_a_daemon_that_died_is_made_again(sealed: SealedRig) -> None:
    (pid,) = processes(sealed.hub.interface)
    os.kill(pid, 9)
    wait_until(lambda: pid not in processes(sealed.hub.interface), "its end", 30)
    wait_until(lambda: len(processes(sealed.hub.interface)) == 1, "another one", 30)
    wait_until(lambda: sealed.hub.reaches(SITES["a"]["tunnel"], HL7), "site a, by its saved endpoint", 60)
    assert {facts["CapEff"] for facts in processes(sealed.hub.interface).values()} == {f"{NET_ADMIN:016x}"}


def test_rules_that_somebody_flushed_are_loaded_again(sealed: SealedRig) -> None:
    sealed.hub.run("nft", "flush", "ruleset")
    wait_until(lambda: "table inet pons" in sealed.hub.run("nft", "list", "tables"), "the rules", 60)


def test_down_and_up_again_while_nobody_watches(sealed: SealedRig) -> None:
    sealed.stop_tunnel()
    name = sealed.hub.interface
    assert sealed.pons("tunnel", "down") == f"{name} is down\n"
    assert name not in sealed.hub.run("ip", "link")
    assert processes(name) == {}
    assert "table inet pons" in sealed.hub.run("nft", "list", "tables"), "nothing leaves in clear"
    sealed.pons("tunnel", "down", "--rules")
    assert "table inet pons" not in sealed.hub.run("nft", "list", "tables")
    told = sealed.pons("tunnel", "status", expect=1)
    assert told == f"there is no interface {name}; `pons tunnel up` makes it\n"
    assert sealed.pons("tunnel", "up") == f"{name} is up with 1 sites, 1 peers changed\n"
    wait_until(lambda: sealed.hub.reaches(SITES["a"]["tunnel"], HL7), "site a", 60)
    sealed.start_tunnel()
