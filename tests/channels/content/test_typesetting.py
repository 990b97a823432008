"""Type is set alike on every machine, in every script that DICOM has a character set for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from channels.content import typesetting

FONT_DIGESTS = {
    "IBMPlexSansArabic-Bold.ttf": "691e0c891a38637ae6bbdb69700f8042cb0724a137bee615068ffdb92244f61f",
    "IBMPlexSansArabic-Regular.ttf": "6f611412270a132bbac838da9259d4c68569b4175f3b3b8fa3fa36a30b56dab9",
    "NotoSans.ttf": "fb53504de62e767a54695416123d68d67f71c9b69722175184ad56e7dd13547b",
    "NotoSansCJK-Regular.ttc": "b76b0433203017ca80401b2ee0dd69350349871c4b19d504c34dbdd80541690a",
    "NotoSansHebrew.ttf": "9d81d81ad592644487b03843da73a87b99cd28a2c4da4a096e1db8fbd14fda61",
    "NotoSansThai.ttf": "13f52f79b04f01f2751a81052a5dee2df639fd4e13f4ac30821ab45c8dd5f7e7",
}

SCRIPTS = {
    # script: its letters as they come in names
    "latin 1": "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ",
    "latin 2 to 9": "ĀāĂăĄąĆćČčĎďĐđĘęĚěĞğİıŁłŃńŇňŐőŒœŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽž",
    "signs": "<>=+-±×÷%°µ²³≤≥–—…€£§©®·•→",
    "greek": "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ",
    "cyrillic": "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюяёђѓєѕіїјљњћќўџҐґ",
    "arabic": "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيپچژکگیټډړښ",
    "hebrew": "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "thai": "กขคฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรฤลวศษสหฬอฮะาเแโใไ",
    "kana": "ぁあぃいぅうかがきぎくぐけげこごさたなはまやらわをんァアイウエオカキクケコサタナハマヤラワン",
    "kanji": "山田太郎鈴木佐藤高橋渡邊齋藤髙﨑辻榊",
    "hangul": "김희중이박최정강조윤장임한오서신권황안송류홍뷁",
    "simplified": "王小东张刘陈杨赵黄周吴徐孙马胡郭林何高梁郑谢宋唐许韩冯邓曹彭曾",
    "traditional": "陳張劉楊趙黃吳孫馬鄭謝許韓馮鄧蕭蔣蘇呂魏葉閻鍾龔",
}


def drawn(words: str) -> bytes:
    """How the words look on a strip."""
    data = {"lines": [words], "width": 400, "height": 100, "margin": 4, "ink": [255] * 3, "paper": [0] * 3}
    pixels = np.asarray(typesetting.picture("band.typ", data))
    assert pixels.any(), f"nothing is drawn for {words!r}"
    return pixels.tobytes()


def test_every_font_is_the_one_that_was_chosen() -> None:
    paths = {one.path for one in typesetting.fonts().fonts() if one.path}
    assert {
        Path(path).name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths
    } == FONT_DIGESTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_letter_is_drawn_as_a_missing_one(script: str) -> None:
    missing = drawn("\U0010fffd")  # private use, in no font
    seen = {letter: drawn(letter) for letter in SCRIPTS[script]}
    assert [letter for letter, look in seen.items() if look == missing] == []
    alike = len(seen) - len(set(seen.values()))
    assert alike <= len(seen) // 10, f"{alike} letters of {len(seen)} look like another"


def test_a_letter_that_no_font_has_is_drawn_as_a_missing_one() -> None:
    assert drawn("\U0010fffd") == drawn("\U0010fff0")


def test_arabic_letters_join_and_run_from_right_to_left() -> None:
    def ink(words: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        lines = {
            "lines": [words],
            "width": 400,
            "height": 99,
            "margin": 4,
            "ink": [255] * 3,
            "paper": [0] * 3,
        }
        return np.asarray(typesetting.picture("band.typ", lines)).any(axis=(0, 2))

    joined = np.flatnonzero(ink("محمد"))
    assert joined.min() > 300, "the paragraph does not start at the right"
    assert np.ptp(joined) + 1 == joined.size, "there is a gap between letters that join"
    assert np.ptp(joined) < np.ptp(np.flatnonzero(ink("م ح م د"))), "letters stand apart"
    assert np.flatnonzero(ink("Muhammad")).max() < 200


@pytest.mark.parametrize(
    ("words", "family"),
    [
        ("Yamada 山田 やまだ", "Noto Sans CJK JP"),
        ("김희중 金喜中", "Noto Sans CJK KR"),
        ("王小东", "Noto Sans CJK SC"),
        ("Adams", "Noto Sans CJK SC"),
    ],
)
def test_han_characters_take_the_form_of_their_country(words: str, family: str) -> None:
    assert typesetting.han_family(words) == family


def test_a_missing_font_package_is_said_and_not_drawn_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typesetting, "CJK_PACKAGE", "a_package_that_nobody_has")
    with pytest.raises(FileNotFoundError, match="noto-cjk-sans-otc is missing"):
        typesetting.fonts.__wrapped__()


@pytest.mark.judges
def test_every_font_is_embedded_and_maps_to_unicode(tool: Callable[..., str]) -> None:
    findings = {"findings": [], "left_out": "", "pictures": [], "impression": [], "identification": []}
    words = {"title": "Names", "banner": "", "disclaimer": "", "made_by": "", "rendered": ""}
    data = findings | words | {"study_instance_uid": "1.2.3", "narrative": list(SCRIPTS.values())}
    page = typesetting.pdf("report.typ", data, 0)
    rows = tool("pdffonts", "poppler-utils", page, "{}").splitlines()[2:]
    assert all(row.split()[-5:-2] == ["yes", "yes", "yes"] for row in rows), rows
    names = {row.split()[0].partition("+")[2].partition("-")[0] for row in rows}
    assert names == {"NotoSans", "NotoSansCJKjp", "IBMPlexSansArabic", "NotoSansHebrew", "NotoSansThai"}
