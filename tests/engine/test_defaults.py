"""What blocks have in common is written once, and what is wrong with it is told where it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config import examine, load
from engine.table import Table

HEAD = """version: 1
sites:
  a: {addresses: [10.0.0.1], ae_titles: [A_PACS]}
  b: {addresses: [10.0.0.2], ae_titles: [B_PACS], timezone: Europe/Paris}
inbound:
  pacs: {type: c_store}
  web: {type: stow_rs}
processors:
  qc: {type: quality_control}
outbound:
  a-ris: {type: hl7_oru, site: a, host: 10.0.0.1, port: 2575}
  b-ris: {type: hl7_oru, site: b, host: 10.0.0.2, port: 2576, retry: {first: 9s}}
  a-pacs: {type: dicom_sr, site: a, host: 10.0.0.1, port: 104, ae_title: A_PACS}
routes:
  - {name: of a, match: {site: a}, process: qc, deliver: [a-ris, a-pacs]}
  - {name: of b, match: {site: b}, from: [web], process: qc, deliver: [b-ris]}
"""


def read(folder: Path, defaults: str, text: str = HEAD) -> Table:
    (folder / "routes.yaml").write_text(text + defaults)
    table, findings = examine(folder / "routes.yaml", surroundings=False)
    assert table is not None, "\n".join(map(str, findings))
    assert [str(one) for one in findings if one.code == "unused-default"] == []
    return table


def found(folder: Path, defaults: str, text: str = HEAD) -> list[str]:
    (folder / "routes.yaml").write_text(text + defaults)
    _, findings = examine(folder / "routes.yaml", surroundings=False)
    return [str(one) for one in findings if "defaults" in one.path]


def test_a_block_has_what_the_defaults_say_unless_it_says_otherwise(tmp_path: Path) -> None:
    table = read(tmp_path, "defaults: {sites: {timezone: Europe/Dublin}}\n")
    assert (table.sites["a"].timezone, table.sites["b"].timezone) == ("Europe/Dublin", "Europe/Paris")


def test_defaults_go_by_type_and_those_of_a_type_before_those_of_any(tmp_path: Path) -> None:
    defaults = """defaults:
  outbound:
    "*": {timeout: 7s, calling_ae_title: PONS_A}
    hl7_oru: {timeout: 11s}
"""
    settings = {name: one.settings for name, one in read(tmp_path, defaults).outbound.items()}
    assert [settings[name].timeout for name in ("a-ris", "b-ris", "a-pacs")] == [11.0, 11.0, 7.0]
    assert settings["a-pacs"].calling_ae_title == "PONS_A", (
        "a key that hl7_oru does not know is none of its business"
    )


def test_mappings_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    defaults = """defaults:
  outbound: {hl7_oru: {retry: {first: 3s, cap: 60s}}}
  routes: {from: [pacs], match: {Modality: MR}}
"""
    table = read(tmp_path, defaults)
    retries = [table.outbound[name].settings.retry for name in ("a-ris", "b-ris")]
    assert [(one.first, one.cap) for one in retries] == [(3.0, 60.0), (9.0, 60.0)]
    assert [one.inbound for one in table.routes] == [("pacs",), ("web",)]
    assert [str(one.match) for one in table.routes] == ["site a, Modality MR", "site b, Modality MR"]


def test_a_reference_to_a_secret_is_one_value(tmp_path: Path) -> None:
    text = HEAD.replace(
        "  a-ris: {type: hl7_oru, site: a,",
        "  hook: {type: webhook, site: a, url: 'https://a.example/h', secret: {file: hook.key}}\n"
        "  hook-2: {type: webhook, site: a, url: 'https://a.example/i'}\n"
        "  a-ris: {type: hl7_oru, site: a,",
    )
    table = read(tmp_path, "defaults: {outbound: {webhook: {secret: {env: HOOKS}}}}\n", text)
    own, common = (table.outbound[name].settings.secret for name in ("hook", "hook-2"))
    assert (own.env, own.file) == (None, tmp_path / "hook.key")
    assert (common.env, common.file) == ("HOOKS", None)


def test_they_reach_the_blocks_of_included_files_but_are_written_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("sites:\n  c: {addresses: [10.0.0.3]}\n")
    table = read(tmp_path, "include: [c.yaml]\ndefaults: {sites: {timezone: Asia/Tokyo}}\n")
    assert table.sites["c"].timezone == "Asia/Tokyo"
    (tmp_path / "c.yaml").write_text("defaults: {sites: {timezone: Asia/Tokyo}}\n")
    _, findings = examine(tmp_path / "routes.yaml", surroundings=False)
    assert (
        "c.yaml:1:1: defaults: an included file may not hold 'defaults'; "
        "write them in the table itself, for the blocks of every file [bad-include]"
    ) in map(str, findings)


def test_anchors_and_merge_keys_work_beside_them_and_go_before_them(tmp_path: Path) -> None:
    text = HEAD.replace(
        "  a-ris: {type: hl7_oru, site: a, host: 10.0.0.1, port: 2575}",
        "  a-ris: &ris {type: hl7_oru, site: a, host: 10.0.0.1, port: 2575, timeout: 5s}\n"
        "  a-ris-2: {<<: *ris, port: 2577}\n"
        "  a-ris-3: {<<: *common, type: hl7_oru, site: a, host: 10.0.0.1, port: 2578}",
    ).replace(
        "sites:\n",
        "defaults:\n  outbound: {hl7_oru: &common {timeout: 8s, concurrency: 3}}\nsites:\n",
    )
    settings = {name: one.settings for name, one in read(tmp_path, "", text).outbound.items()}
    assert {name: (one.timeout, one.concurrency) for name, one in settings.items() if "ris" in name} == {
        "a-ris": (5.0, 3),
        "a-ris-2": (5.0, 3),
        "a-ris-3": (8.0, 3),
        "b-ris": (8.0, 3),
    }


def test_what_is_shared_by_an_alias_is_changed_only_where_the_defaults_are_for(tmp_path: Path) -> None:
    text = HEAD.replace("retry: {first: 9s}", "retry: &patient {first: 9s}").replace(
        "ae_title: A_PACS}", "ae_title: A_PACS, retry: *patient}"
    )
    table = read(tmp_path, "defaults: {outbound: {hl7_oru: {retry: {cap: 50s}}}}\n", text)
    caps = {name: one.settings.retry.cap for name, one in table.outbound.items()}
    assert caps == {"a-ris": 50.0, "b-ris": 50.0, "a-pacs": 900.0}


FINDINGS: list[tuple[str, list[str]]] = [
    (  # a value that many blocks took is told of once, where it stands
        "defaults:\n  outbound: {'*': {timeout: 7}}\n",
        [
            "routes.yaml:18:29: defaults.outbound.*.timeout: a duration needs a unit, "
            "for example 250ms, 60s, 20m, 72h [bad-value]"
        ],
    ),
    (
        "defaults:\n  outbound: {hl7_oru: {retry: {frist: 3s}}}\n",
        [
            "routes.yaml:18:32: defaults.outbound.hl7_oru.retry.frist: "
            "unknown key 'frist'; did you mean 'first'? [unknown-key]"
        ],
    ),
    (
        "defaults:\n  routes: {match: {Modalty: MR}}\n",
        [
            "routes.yaml:18:20: defaults.routes.match.Modalty: no DICOM attribute 'Modalty'; "
            "did you mean 'Modality'? [unknown-attribute]"
        ],
    ),
    (
        "defaults:\n  sties: {timezone: Europe/Dublin}\n",
        ["routes.yaml:18:3: defaults.sties: no defaults for 'sties'; did you mean 'sites'? [unknown-key]"],
    ),
    (
        "defaults:\n  sites: {timzone: Europe/Dublin}\n",
        [
            "routes.yaml:18:11: defaults.sites.timzone: unknown key 'timzone'; "
            "did you mean 'timezone'? [unknown-key]"
        ],
    ),
    (
        "defaults:\n  outbound: {hl7_orru: {timeout: 7s}}\n",
        [
            "routes.yaml:18:14: defaults.outbound.hl7_orru: no channel type 'hl7_orru'; "
            "did you mean 'hl7_oru'? [unknown-type]"
        ],
    ),
    (
        "defaults:\n  outbound: {hl7_oru: {type: hl7_oru}}\n  routes: {name: x}\n",
        [
            "routes.yaml:18:24: defaults.outbound.hl7_oru.type: "
            "every block has its own type; take it out of the defaults [unknown-key]",
            "routes.yaml:19:12: defaults.routes.name: "
            "every block has its own name; take it out of the defaults [unknown-key]",
        ],
    ),
    (
        "defaults:\n  outbound: {'*': {tmeout: 7s}, webhook: {timeout: 7s}}\n  sites: {ae_titles: [X]}\n",
        [
            "routes.yaml:18:20: warning: defaults.outbound.*.tmeout: "
            "nothing takes it: no block here knows it [unused-default]",
            "routes.yaml:18:43: warning: defaults.outbound.webhook.timeout: "
            "nothing takes it: no block here knows it [unused-default]",
            "routes.yaml:19:11: warning: defaults.sites.ae_titles: "
            "nothing takes it: every block that knows it has its own [unused-default]",
        ],
    ),
    (
        "defaults:\n  outbound: {hl7_oru: 7}\n  sites: [1]\n",
        [
            "routes.yaml:18:23: defaults.outbound.hl7_oru: must be a mapping [wrong-kind]",
            "routes.yaml:19:10: defaults.sites: must be a mapping [wrong-kind]",
        ],
    ),
    ("defaults: 7\n", ["routes.yaml:17:11: defaults: must be a mapping [wrong-kind]"]),
    ("defaults:\n", []),
]


@pytest.mark.parametrize(("defaults", "findings"), FINDINGS)
def test_what_is_wrong_with_defaults_is_told_there_and_once(
    tmp_path: Path, defaults: str, findings: list[str]
) -> None:
    assert found(tmp_path, defaults) == findings


def test_a_file_that_two_patterns_match_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "c.yaml").write_text("sites: {c: {addresses: [10.0.0.3]}}\n")
    text = HEAD + "include: [sites/*.yaml, 'sites/c*', routes.yaml]\n"
    (tmp_path / "routes.yaml").write_text(text)
    assert list(load(tmp_path / "routes.yaml", surroundings=False).sites) == ["a", "b", "c"]


def test_an_included_file_includes_no_further_ones(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("include: [routes.yaml]\n")
    (tmp_path / "routes.yaml").write_text(HEAD + "include: [c.yaml]\n")
    table, findings = examine(tmp_path / "routes.yaml", surroundings=False)
    assert table is None
    assert (
        "c.yaml:1:1: include: an included file may not hold 'include'; name its files in the include of "
        "the table itself: one list says what it is made of [bad-include]"
    ) in map(str, findings)


@pytest.mark.parametrize("value", [None, 7, [], {}, "x", [{}], {"a": None}])
def test_no_defaults_make_it_stumble(tmp_path: Path, value: Any) -> None:
    sections = ("sites", "inbound", "processors", "outbound", "routes", "x")
    for body in (value, {"*": value}, {"c_store": value}):
        for blocks in (value, {"a": {"type": "c_store"}}):
            table = {"version": 1, **dict.fromkeys(sections, blocks)}
            table["defaults"] = dict.fromkeys(sections, body)
            (tmp_path / "routes.yaml").write_text(yaml.safe_dump(table))
            assert examine(tmp_path / "routes.yaml", surroundings=False)[0] is None
