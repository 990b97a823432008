"""Installed types are found by entry point, loaded late, and a broken one says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.catalog import Catalog
from engine.config import examine
from engine.errors import ConfigurationError

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that installs a distribution with one outbound type, as pip would lay it out."""

    def lay_out(module: str, code: str) -> None:
        site_packages = tmp_path / "site-packages"
        info = site_packages / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (site_packages / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pons.outbound]\n{module} = {module}:CHANNEL\n")
        monkeypatch.syspath_prepend(str(site_packages))

    return lay_out


def test_the_parts_list_is_installed() -> None:
    catalog = Catalog()
    assert set(catalog.names("inbound")) >= {"c_store", "stow_rs"}
    assert set(catalog.names("outbound")) >= {"dicom_sr", "hl7_oru", "fhir_diagnostic_report", "webhook"}
    assert set(catalog.names("processor")) >= {"command", "quality_control"}
    assert set(catalog.names("sender")) >= {"c_store", "stow_rs"}
    assert set(catalog.names("export")) >= {"csv", "json", "pdf", "png", "txt", "xml"}


@pytest.mark.parametrize("kind", ["inbound", "outbound", "processor", "export", "sender"])
def test_every_type_of_the_parts_list_loads_under_its_own_name(kind: str) -> None:
    catalog = Catalog()
    names = catalog.names(kind)
    assert [getattr(catalog, kind)(name).name for name in names] == list(names)


def test_a_type_of_another_package_is_as_good_as_our_own(install: Install, tmp_path: Path) -> None:
    install(
        "pons_fax",
        "from engine.channel import OutboundSettings, OutboundType\n"
        "class Settings(OutboundSettings):\n"
        "    number: str\n"
        "CHANNEL = OutboundType('pons_fax', 'result', Settings, lambda settings, context: object())\n",
    )
    path = tmp_path / "routes.yaml"
    path.write_text(
        "version: 1\nsites: {a: {tunnel: 10.0.0.1}}\n"
        "outbound:\n  fax: {type: pons_fax, site: a, numbr: '12'}\n"
    )
    assert [str(finding) for finding in examine(path)[1]] == [
        "routes.yaml:4:8: outbound.fax.number: missing key 'number' [missing-key]",
        "routes.yaml:4:34: outbound.fax.numbr: unknown key 'numbr'; did you mean 'number'? [unknown-key]",
    ]


BROKEN: list[tuple[str, str, str]] = [
    (
        "pons_needs",
        "import not_installed_anywhere\n",
        "cannot be loaded: ModuleNotFoundError: No module named",
    ),
    (
        "pons_raises",
        "raise RuntimeError('first line\\nsecond line')\n",
        "cannot be loaded: RuntimeError: first line;",
    ),
    ("pons_empty", "", "cannot be loaded: AttributeError"),
    ("pons_other", "CHANNEL = 7\n", "is a int, not an OutboundType; its package is broken"),
]


@pytest.mark.parametrize(("module", "code", "message"), BROKEN)
def test_a_broken_type_is_a_finding_not_a_traceback(
    install: Install, tmp_path: Path, module: str, code: str, message: str
) -> None:
    install(module, code)
    path = tmp_path / "routes.yaml"
    path.write_text(f"version: 1\noutbound:\n  x: {{type: {module}, site: a}}\n")
    _, (finding,) = examine(path)
    assert str(finding).startswith(
        f"routes.yaml:3:13: outbound.x.type: channel type '{module}' ({module}:CHANNEL)"
    )
    assert message in str(finding)
    assert "\n" not in str(finding)


def test_a_broken_type_that_no_table_uses_disturbs_nobody(install: Install, tmp_path: Path) -> None:
    install("pons_unused", "raise RuntimeError\n")
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\n")
    assert examine(path)[1] == []


def test_an_unknown_type_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"^no channel type 'cstore'; did you mean 'c_store'\?$"):
        Catalog().inbound("cstore")
    with pytest.raises(
        ConfigurationError, match=r"^no processor type 'x'; there is command, quality_control$"
    ):
        Catalog().processor("x")
    with pytest.raises(ConfigurationError, match=r"^no format 'jsn'; did you mean 'json'\?$"):
        Catalog().export("jsn")
