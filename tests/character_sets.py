"""One instance for each character set of DICOM (PS3.3 C.12.1.1.2), in bytes that no library encoded.

The names are those of PS3.5 annexes H to K where these have one; the others end up in hospitals too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

KANJI, ASCII, ROMAN = b"\x1b$B", b"\x1b(B", b"\x1b(J"
SUPPLEMENT, HANGUL, HANZI = b"\x1b$(D", b"\x1b$)C", b"\x1b$)A"


@dataclass(frozen=True)
class Sample:
    """A character set, a name and a description written in it, and what they are in Unicode."""

    charset: str
    name: str
    raw_name: bytes
    description: str
    raw_description: bytes

    def __str__(self) -> str:
        return self.charset


def _plain(charset: str, codec: str, name: str, description: str) -> Sample:
    return Sample(charset, name, name.encode(codec), description, description.encode(codec))


def _jis(words: str, codec: str = "iso2022_jp") -> bytes:
    """The two-byte codes alone, without the escape sequences around them."""
    return words.encode(codec).split(b"\x1b")[1][3 if codec == "iso2022_jp_2" else 2 :]


def _kanji(words: str) -> bytes:
    return KANJI + _jis(words) + ASCII


def _hangul(words: str) -> bytes:
    return HANGUL + words.encode("euc_kr")


def _hanzi(words: str) -> bytes:
    return HANZI + words.encode("gb2312")


SAMPLES = [
    _plain("", "ascii", "Adams^John Robert Quincy^^Rev.^B.A. M.Div.", "Skull and brain"),
    _plain("ISO_IR 100", "iso8859_1", "Müller-Lüdenscheidt^Jérôme Ñuño", "Schädel, 37 °C ± ½"),
    _plain("ISO_IR 101", "iso8859_2", "Łukaszewicz^Żaneta Őrsi", "Vyšetření hlavy"),
    _plain("ISO_IR 109", "iso8859_3", "Ġużeppi^Ħaż-Żebbuġ", "Ĉerbo de ŭlo"),
    _plain("ISO_IR 110", "iso8859_4", "Bērziņš^Ģirts", "Smadzeņu izmeklējums"),
    _plain("ISO_IR 144", "iso8859_5", "Щёголева^Юлия", "МРТ головного мозга"),
    _plain("ISO_IR 127", "iso8859_6", "قباني^لنزار", "صورة الدماغ"),
    _plain("ISO_IR 126", "iso8859_7", "Διονυσίου^Ελένη", "Μαγνητική τομογραφία"),
    _plain("ISO_IR 138", "iso8859_8", "שרון^דבורה", "בדיקת מוח"),
    _plain("ISO_IR 148", "iso8859_9", "Yıldız^Şükrü Ağaoğlu", "Beyin İncelemesi"),
    _plain("ISO_IR 203", "iso8859_15", "Lefœuvre^Žofia", "Œdème, 12 € Š"),
    _plain("ISO_IR 166", "tis_620", "นามสกุล^ชื่อ", "สมอง"),
    _plain("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ｱﾀﾏ MRI"),
    _plain("ISO_IR 192", "utf-8", "Wang^XiaoDong=王^小東", "腦部 – Schädel – мозг – דמ"),
    _plain("GB18030", "gb18030", "Wang^XiaoDong=王^小东", "颅脑磁共振"),
    _plain("GBK", "gbk", "Li^Bing=李^昞誠", "颅脑磁共振"),
    Sample(  # PS3.5 H.3.1
        "\\ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        b"Yamada^Tarou="
        + _kanji("山田")
        + b"^"
        + _kanji("太郎")
        + b"="
        + _kanji("やまだ")
        + b"^"
        + _kanji("たろう"),
        "頭部 MRI",
        _kanji("頭部") + b" MRI",
    ),
    Sample(  # two-byte codes with the bytes of = ^ \ in them
        "\\ISO 2022 IR 87",
        "Kasuga^Junko=春日^純子=かすが^じゅんこ",
        b"Kasuga^Junko="
        + _kanji("春日")
        + b"^"
        + _kanji("純子")
        + b"="
        + _kanji("かすが")
        + b"^"
        + _kanji("じゅんこ"),
        "春の検診、重要",
        _kanji("春の検診、重要"),
    ),
    Sample(  # PS3.5 H.3.2
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=".encode("shift_jis")
        + KANJI
        + _jis("山田")
        + ROMAN
        + b"^"
        + KANJI
        + _jis("太郎")
        + ROMAN
        + b"="
        + KANJI
        + _jis("やまだ")
        + ROMAN
        + b"^"
        + KANJI
        + _jis("たろう")
        + ROMAN,
        "ｱﾀﾏ 頭部",
        "ｱﾀﾏ ".encode("shift_jis") + KANJI + _jis("頭部") + ROMAN,
    ),
    Sample(  # the supplementary kanji
        "\\ISO 2022 IR 87\\ISO 2022 IR 159",
        "Sou^Gyoku=宋^丂玉",
        b"Sou^Gyoku=" + _kanji("宋") + b"^" + SUPPLEMENT + _jis("丂", "iso2022_jp_2") + _kanji("玉"),
        "検査",
        _kanji("検査"),
    ),
    Sample(  # PS3.5 I.2
        "\\ISO 2022 IR 149",
        "Hong^Gildong=洪^吉洞=홍^길동",
        b"Hong^Gildong="
        + _hangul("洪")
        + b"^"
        + _hangul("吉洞")
        + b"="
        + _hangul("홍")
        + b"^"
        + _hangul("길동"),
        "뇌 MRI 검사",
        _hangul("뇌 MRI 검사"),
    ),
    Sample(  # PS3.5 K.2
        "\\ISO 2022 IR 58",
        "Zhang^XiaoDong=张^小东",
        b"Zhang^XiaoDong=" + _hanzi("张") + b"^" + _hanzi("小东"),
        "颅脑 MRI",
        _hanzi("颅脑 MRI"),
    ),
    Sample(  # single-byte code extensions
        "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126",
        "Люкс^Äneas",
        b"\x1b-L" + "Люкс".encode("iso8859_5") + "^Äneas".encode("iso8859_1"),
        "Größe Ωμέγα",
        "Größe ".encode("iso8859_1") + b"\x1b-F" + "Ωμέγα".encode("iso8859_7"),
    ),
]


def instance(sample: Sample) -> bytes:
    """A Part 10 file in explicit VR little endian whose texts are in the sample's character set."""
    request = _element(0x0032, 0x1060, "LO", sample.raw_description)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(request)) + request
    body = [
        *([_element(0x0008, 0x0005, "CS", sample.charset.encode())] if sample.charset else []),
        _element(0x0008, 0x0016, "UI", b"1.2.840.10008.5.1.4.1.1.4"),
        _element(0x0008, 0x0018, "UI", b"1.2.3.4"),
        _element(0x0008, 0x0020, "DA", b"20240409"),
        _element(0x0008, 0x0050, "SH", b"ACC-1"),
        _element(0x0008, 0x0060, "CS", b"MR"),
        _element(0x0008, 0x0090, "PN", sample.raw_name),
        _element(0x0008, 0x1030, "LO", sample.raw_description),
        _element(0x0010, 0x0010, "PN", sample.raw_name),
        _element(0x0010, 0x0020, "LO", b"P-1"),
        _element(0x0020, 0x000D, "UI", b"1.2.3"),
        _element(0x0020, 0x000E, "UI", b"1.2.3.1"),
        struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, len(item)) + item,
    ]
    meta = _element(0x0002, 0x0010, "UI", b"1.2.840.10008.1.2.1")
    length = _element(0x0002, 0x0000, "UL", struct.pack("<I", len(meta)))
    return b"\0" * 128 + b"DICM" + length + meta + b"".join(body)


def _element(group: int, element: int, vr: str, value: bytes) -> bytes:
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr.encode(), len(value)) + value
