"""Bytes on disk: durable under their name, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.data_set_digest import digest_of
from engine.errors import Busy, Rejected, RejectedReason
from engine.instance_log import LIMIT, entries
from engine.landing import WRITE_BACK
from engine.spool import Spool, write_durably


def test_an_instance_keeps_its_bytes_and_is_private(spool: Spool, instance: Callable[..., bytes]) -> None:
    content = instance()
    landing = spool.land()
    for start in range(0, len(content), 7):  # however the bytes come
        landing.write(content[start : start + 7])
    path = spool.path(spool.keep(landing, "st-marys", "1.2.3", "1.2.3.4"))
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list((spool.instances.parent / "landing").glob("*/*"))


def test_the_digest_is_of_the_data_set_whatever_the_file_meta_says(
    spool: Spool, instance: Callable[..., bytes]
) -> None:
    one, other = instance(sender="A"), instance(sender="ANOTHER_TITLE")
    assert one != other
    digests = []
    for content, step in ((one, 1), (other, 64)):
        landing = spool.land()
        for start in range(0, len(content), step):
            landing.write(content[start : start + step])
        digests.append(landing.sha256())
        landing.discard()
    assert digests[0] == digests[1]
    assert digests[0] == hashlib.sha256(one[one.index(b"\x08\x00\x16\x00UI") :]).hexdigest()


def test_a_file_without_meta_is_digested_whole(spool: Spool) -> None:
    for content in (b"short", b"x" * 500):
        landing = spool.land()
        landing.write(content)
        assert landing.sha256() == hashlib.sha256(content).hexdigest()
        landing.discard()


def test_a_landing_past_the_limit_is_rejected_before_it_is_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_instance=10, min_free=0)
    landing = spool.land()
    landing.write(b"0123456789")
    with pytest.raises(Rejected) as refusal:
        landing.write(b"x")
    assert refusal.value.reason is RejectedReason.TOO_LARGE
    assert landing.size == 10
    landing.discard()
    landing.discard()
    assert not list((tmp_path / "landing").glob("*/*"))


def test_nothing_lands_below_the_watermark(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_instance=10, min_free=100, free_space=lambda _: 99)
    with pytest.raises(Busy) as refusal:
        spool.land()
    assert refusal.value.storage_full
    assert not list((tmp_path / "landing").glob("*/*"))


def test_a_full_disk_is_busy_not_a_crash(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = spool.land()

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    landing.write(b"x" * LIMIT)  # in memory still
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Busy) as refusal:
        landing.write(b"x")
    assert refusal.value.storage_full
    landing.discard()
    assert not list((spool.instances.parent / "landing").glob("*/*"))


def test_a_disk_that_is_full_when_a_small_instance_is_kept_is_busy(
    spool: Spool, instance: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = spool.land()
    landing.write(instance())

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(Busy) as refusal:
            spool.keep(landing, "st-marys", "1.2.3", "1.2.3.4")
    assert refusal.value.storage_full
    assert spool.take_failure()
    (half,) = spool.instances.rglob("*.dcm")
    assert list(spool.abandoned) == [str(half.relative_to(spool.instances))], "whoever records removes it"
    again = spool.land()
    again.write(instance())
    assert spool.path(spool.keep(again, "st-marys", "1.2.3", "1.2.3.4")).read_bytes() == instance()


@pytest.mark.parametrize("uid", ["..", ".", "1..2", "../1", "1/2", "", "1.2\n", "a"])
def test_no_uid_becomes_a_path_outside_the_spool(spool: Spool, uid: str) -> None:
    for study, sop in ((uid, "1.2"), ("1.2", uid)):
        landing = spool.land()
        landing.write(b"x" * 200)
        with pytest.raises(Rejected):
            spool.keep(landing, "st-marys", study, sop)
        landing.discard()
    assert not list(spool.instances.rglob("*.dcm"))


def test_what_an_ended_process_left_in_its_landing_is_collected(spool: Spool) -> None:
    ended = Spool(spool.instances.parent, max_instance=2 * LIMIT, min_free=0)
    ended.land().write(b"half an inst" + bytes(LIMIT))
    (spool.instances.parent / "landing" / "of-an-old-release").write_bytes(b"half")
    ended.close()
    assert spool.collect_leftovers() == 2
    assert spool.collect_leftovers() == 0


def test_the_landings_of_a_living_process_are_left_alone(
    spool: Spool, instance: Callable[..., bytes]
) -> None:
    living = Spool(spool.instances.parent, max_instance=10_000_000, min_free=0)
    landing = living.land()
    landing.write(instance())
    own = spool.land()
    assert spool.collect_leftovers() == 0
    assert living.path(living.keep(landing, "st-marys", "1.2.3", "1.2.3.4")).read_bytes() == instance()
    own.discard()
    living.close()
    assert len(list((spool.instances.parent / "landing").iterdir())) == 1, (
        "only the folder of the other is left"
    )


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files and folders that were synced, in order."""
    seen: list[str] = []

    def watched(sync: Callable[[int], None]) -> Callable[[int], None]:
        def watch(descriptor: int) -> None:
            seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            sync(descriptor)

        return watch

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    return seen


def test_bytes_and_names_of_a_large_instance_are_synced_before_keep_returns(
    spool: Spool, synced: list[str]
) -> None:
    landing = spool.land()
    landing.write(bytes(LIMIT + 1))
    folder = spool.path(spool.keep(landing, "st-marys", "1.2.3", "1.2.3.4")).parent
    # The bytes first, then the new folders from the top, at last the name itself.
    assert synced == [str(landing.path), str(spool.instances), str(folder.parent), str(folder)]


def test_a_small_instance_is_synced_in_the_log_before_keep_returns(
    spool: Spool, instance: Callable[..., bytes], synced: list[str]
) -> None:
    for number in (1, 2):
        landing = spool.land()
        landing.write(instance(number))
        path = spool.keep(landing, "st-marys", "1.2.3", f"1.2.3.{number}")
    (segment,) = (spool.instances.parent / "log").glob("*/*")
    names = [str(segment.parent), str(segment.parent.parent), str(spool.instances.parent)]
    assert synced == [*names, str(segment), str(segment)], (
        "the names of the log once, then a sync an instance"
    )
    assert [name for name, _ in entries(segment)][-1] == path
    assert [content for _, content in entries(segment)] == [instance(1), instance(2)]


def test_the_same_instance_at_the_same_time_is_kept_whole(
    spool: Spool, instance: Callable[..., bytes]
) -> None:
    landings = [spool.land() for _ in range(16)]
    for number, landing in enumerate(landings):
        landing.write(instance(sender=f"S{number}"))  # one data set, and file meta of each sender's own
    with ThreadPoolExecutor(16) as threads:
        paths = set(threads.map(lambda one: spool.keep(one, "st-marys", "1.2.3", "1.2.3.4"), landings))
    (path,) = paths
    assert digest_of(spool.path(path)) == landings[0].sha256()
    assert [file.name for file in spool.path(path).parent.iterdir()] == [path.rpartition("/")[2]]


def test_a_clean_end_settles_the_log_and_leaves_none(spool: Spool, instance: Callable[..., bytes]) -> None:
    landing = spool.land()
    landing.write(instance())
    path = spool.keep(landing, "st-marys", "1.2.3", "1.2.3.4")
    landing.discard()
    spool.close()
    assert not list((spool.instances.parent / "log").glob("*"))
    assert spool.path(path).read_bytes() == instance()


def test_a_durable_write_replaces_whole_files_only(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", b"one")
    write_durably(tmp_path / "a", b"two")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"two"


def test_the_disk_begins_with_a_large_instance_while_it_comes(spool: Spool) -> None:
    """What is written back early has only its rest to wait for: the kernel counts what is still dirty."""
    landing = spool.land()
    piece = os.urandom(1 << 20)
    for _ in range(WRITE_BACK // len(piece) + 1):
        landing.write(piece)
    assert landing._begun == WRITE_BACK
    path = spool.path(spool.keep(landing, "st-marys", "1.2.3", "1.2.3.4"))
    assert path.read_bytes() == piece * (WRITE_BACK // len(piece) + 1)
