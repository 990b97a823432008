"""Every page of the portal: nothing keeps people out of it, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from channels.inbound.portal.channel import MODULES
from tests.portal.axe import CONTRAST, RULES, violations
from tests.portal.browser import DESKTOP, PHONE, Chromium
from tests.portal.furnished import Furnished, furnished_house
from tests.portal.tour import BEYOND, ENGINEER, NO_PAGE, PATIENT, STOPS, Stop, before
from tests.portal.viewing import has_room

pytestmark = pytest.mark.browser

_LIGHT = """() => {
    const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}"""


@pytest.fixture(scope="module")
def there(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], real_study: Path
) -> Iterator[Furnished]:
    with furnished_house(tmp_path_factory.mktemp("portal"), free_port, real_study) as found:
        yield found


def test_the_tour_leads_to_every_page() -> None:
    declared = {page.path for module in MODULES for page in module.PAGES if "GET" in page.methods}
    assert {stop.path for stop in STOPS} | set(NO_PAGE) == declared | set(BEYOND)
    assert len({stop.picture for stop in STOPS}) == len(STOPS)


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.picture)
def test_a_page_keeps_nobody_out(there: Furnished, browser: Chromium, stop: Stop) -> None:
    with before(stop, there, browser) as here:
        assert here.page.title().endswith(" · Pons")
        found = []
        light = {}
        for scheme, rules in (("light", RULES), ("dark", CONTRAST)):
            here.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            light[scheme] = here.page.evaluate(_LIGHT)
            found += [(scheme, one) for one in violations(here.page, rules)]
        assert found == []
        assert light["dark"] < 64 < 192 < light["light"]
        for wide, high in (PHONE, DESKTOP):
            here.page.set_viewport_size({"width": wide, "height": high})
            assert has_room(here.page), f"{stop.path} is wider than {wide} pixels"
        if stop.roles == ENGINEER:
            text = here.page.content()
            assert [word for word in PATIENT if word in text] == []
