"""What operating systems and disc writers leave beside images: a name in, whether to pass over it out. Pure.

A DICOMDIR (PS3.10 8.6) is passed over too: it tells where files were on a medium, and nothing of a study that
its files do not tell themselves.
"""

from __future__ import annotations

_FILES = frozenset(
    {".ds_store", ".localized", "thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir", "icon\r"}
)
_FOLDERS = frozenset(
    {
        "__macosx",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        ".spotlight-v100",
        ".trashes",
        ".fseventsd",
    }
)


def is_litter(parts: tuple[str, ...]) -> bool:
    """Whether a file is nobody's; its path is given part by part."""
    if not parts:
        return False
    *folders, name = (part.lower() for part in parts)
    return name in _FILES or name.startswith("._") or not _FOLDERS.isdisjoint(folders)
