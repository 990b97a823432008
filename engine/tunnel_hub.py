"""The hub's end of the tunnels, kept as the table and the register say.

Enter: a table. Leave: interface, peers and firewall rules that are so, and `status.json`, in which the engine
reads what it may know of them. Needs CAP_NET_ADMIN, and no other right. A `Follower` keeps it so: it looks
whether a file has changed, which costs next to nothing, and only then reads it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from engine.document import read as read_document
from engine.errors import PonsError
from engine.table import Table
from engine.table_in_force import note_of, table_in_force
from engine.tunnel import folder_of, rules
from wg import device
from wg.health import heard, judge, with_endpoints
from wg.key import write_secret
from wg.peer import Peer, Standing
from wg.probe import ProbeError
from wg.register import Register, RegisterError, peers, taken_over
from wg.store import TunnelFolder

TELL_EVERY = 15.0  # seconds between two looks at the peers: a tenth of one for a thousand sites
SAVE_EVERY = 60.0  # seconds between savings of the endpoints

Stamp = tuple[tuple[str, int, int, int], ...]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the tunnel's parts refuse, as the command line tells it."""
    try:
        yield
    except (device.DeviceError, ProbeError, RegisterError, PermissionError) as error:
        raise PonsError(str(error)) from None


class Hub:
    """The interface of one table."""

    def __init__(self, table: Table) -> None:
        self.folder: TunnelFolder = folder_of(table)
        assert table.tunnel is not None
        self._settings = table.tunnel
        self.name = table.tunnel.interface
        self._table = table
        self._rules = ""
        self._known: tuple[Stamp | None, Register] = (None, Register(self._settings.block))
        self._preshared: tuple[Register | None, dict[str, str]] = (None, {})

    @property
    def stands(self) -> bool:
        """Whether there is an interface, be it as it should or not."""
        return device.exists(self.name)

    def up(self) -> int:
        """Make what is missing, then `sync`; how many peers changed."""
        settings = self._settings
        interface = device.Interface(self.name, settings.listen_port, settings.block, settings.mtu)
        with told():
            # The rules first: an interface without them would let everyone at everything.
            self._load_rules()
            device.up(interface, self.folder.hub_private_key())
        return self.sync()

    def sync(self) -> int:
        """Make the peers as the register says; a new key that was heard takes over. How many changed."""
        with told():
            self._load_rules()
            standing = device.read(self.name)
            known = self._register()
            changed = device.sync(self.name, self._wanted(known, standing))
            arrived = [one.site for one in known.standing() if one.next_public_key in heard(standing)]
            for site in arrived:
                self.folder.change(partial(_take_over, site=site))
            if arrived:
                known = self._register()
                changed += device.sync(self.name, self._wanted(known, standing))
            self._tell(known, device.read(self.name) if changed else standing)
        return changed

    def use(self, table: Table) -> None:
        """Follow this version of the table from now on; what the interface is made from stays."""
        if table.tunnel == self._settings:
            self._table = table

    def save(self) -> None:
        """Write down where each site was last heard from."""
        with told():
            standing = device.read(self.name)
            if with_endpoints(known := self._register(), standing) != known:
                self.folder.change(lambda now: (with_endpoints(now, standing), None))

    def down(self, *, rules_too: bool = False) -> None:
        """Remove the interface; the register stays, and so do the rules unless told otherwise.

        Without interface and rules, what is meant for a site would leave by the default route, in clear.
        """
        with told():
            if self.stands:
                # An interface whose daemon has died can be removed all the same.
                with contextlib.suppress(device.DeviceError, PonsError):
                    self.save()
            device.down(self.name)
            if rules_too:
                device.drop_rules()

    @property
    def rotating(self) -> bool:
        """Whether some site is about to change its key."""
        with told():
            return any(one.next_public_key for one in self._register().standing())

    def _register(self) -> Register:
        """As it is; read when it has changed."""
        now = stamp([self.folder.file])
        if self._known[0] != now:
            self._known = (now, self.folder.load())
        return self._known[1]

    def _load_rules(self) -> None:
        wanted = rules(self._table)
        # Whoever reloads the machine's own rules flushes everybody's.
        if wanted != self._rules or not device.rules_stand():
            device.load_rules(wanted)
            self._rules = wanted

    def _wanted(self, known: Register, standing: list[Standing]) -> list[Peer]:
        # The keys of a thousand sites are as many files: read when the register has changed.
        if self._preshared[0] != known:
            self._preshared = (known, self.folder.preshared_keys(known))
        return peers(known, self._preshared[1], heard(standing))

    def _tell(self, known: Register, standing: list[Standing]) -> None:
        """What the engine may know of the tunnels: no key is in it."""
        now = time.time()
        found = [asdict(one) for one in judge(known, standing, now)]
        document = {"at": now, "interface": self.name, "sites": found}
        write_secret(self.folder.folder / "status.json", json.dumps(document), durable=False)


def _take_over(known: Register, site: str) -> tuple[Register, None]:
    return taken_over(known, site), None


class Follower:
    """Keeps a hub as table and register say; `look` is called every second or two."""

    def __init__(self, path: Path, hub: Hub) -> None:
        self._path = path
        self._hub = hub
        self._patterns: list[str] = []
        self._note = path  # where the engine tells which table it runs, once that is known
        self._table_stamp: Stamp = ()
        self._register_stamp: Stamp = ()
        self._synced = self._saved = float("-inf")
        self._rotating = False

    def start(self, now: float) -> None:
        """Make everything as it should be; PonsError when that cannot be."""
        self._note = note_of(table_in_force(self._path).engine.data)
        self._read_patterns()
        self._table_stamp = self._stamp_of_table()
        self._register_stamp = stamp([self._hub.folder.file])
        self._hub.up()
        self._rotating = self._hub.rotating
        self._synced = self._saved = now

    def look(self, now: float) -> None:
        """Carry over what has changed; a table with mistakes is not followed.

        Args:
            now: seconds of a clock that does not jump.

        Raises:
            PonsError: something is not as it should be; the next look tries again.
        """
        changed = self._table_changed() | self._register_changed()
        gone = not self._hub.stands  # its daemon has died, or somebody has removed it
        if gone or changed or self._rotating or now - self._synced >= TELL_EVERY:
            self._synced = float("-inf")  # until it has been done
            if gone:
                self._hub.up()
            else:
                self._hub.sync()
            self._synced = now
            self._rotating = self._hub.rotating if changed or self._rotating else False
        if now - self._saved >= SAVE_EVERY:
            self._saved = now
            self._hub.save()

    def _table_changed(self) -> bool:
        now = self._stamp_of_table()
        if now == self._table_stamp:
            return False
        self._table_stamp = now
        table = table_in_force(self._path)
        self._note = note_of(table.engine.data)
        self._read_patterns()
        self._table_stamp = self._stamp_of_table()
        self._hub.use(table)
        return True

    def _register_changed(self) -> bool:
        now = stamp([self._hub.folder.file])
        changed, self._register_stamp = now != self._register_stamp, now
        return changed

    def _read_patterns(self) -> None:
        listed = read_document(self._path).data.get("include")
        self._patterns = [str(one) for one in listed] if isinstance(listed, list) else []

    def _stamp_of_table(self) -> Stamp:
        folder = self._path.resolve().parent
        included = {file for pattern in self._patterns for file in folder.glob(pattern)}
        return stamp([self._path, *sorted(included), self._note])


def stamp(files: list[Path]) -> Stamp:
    """What changes when one of the files does; of a file that is not there, nothing."""
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            facts = file.stat()
            found.append((str(file), facts.st_ino, facts.st_mtime_ns, facts.st_size))
    return tuple(found)
