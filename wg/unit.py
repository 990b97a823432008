"""systemd units of the hub: the engine without privileges, the tunnel with exactly one.

Enter: where the program and the table are, whom they run as. Leave: two unit files. The tunnel's process
keeps the interface as the register says and writes down what it sees; it may change the network and do
nothing else. The engine has no right at all: it serves on ports above 1023.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_./@:-]+")

_SEALED = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices={private_devices}
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
UMask=0077
"""


def render_engine_unit(program: Path, table: Path, writable: Sequence[Path], user: str) -> str:
    """`pons.service`.

    Args:
        writable: the data folder, and the tunnels' folder, in which it enrols sites.
    """
    program_, table_, user_ = (_checked(str(one)) for one in (program, table, user))
    writable_ = " ".join(_checked(str(one)) for one in writable)
    return f"""\
[Unit]
Description=Pons integration engine
After=network-online.target pons-tunnel.service
Wants=network-online.target

[Service]
Type=exec
User={user_}
WorkingDirectory={Path(table_).parent}
ExecStart={program_} run --table {table_}
KillSignal=SIGTERM
TimeoutStopSec=60
Restart=on-failure
RestartSec=2
ReadWritePaths={writable_}
AmbientCapabilities=
CapabilityBoundingSet=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
{_SEALED.format(private_devices="yes")}
[Install]
WantedBy=multi-user.target
"""


def render_tunnel_unit(program: Path, table: Path, folder: Path, user: str) -> str:
    """`pons-tunnel.service`."""
    program_, table_, folder_, user_ = (_checked(str(one)) for one in (program, table, folder, user))
    return f"""\
[Unit]
Description=WireGuard tunnels of Pons
After=network-online.target nftables.service
Wants=network-online.target
Before=pons.service

[Service]
Type=exec
User={user_}
WorkingDirectory={Path(table_).parent}
ExecStart={program_} tunnel watch --table {table_}
ExecStopPost=-{program_} tunnel save --table {table_}
# The interface outlives this process, and so must a wireguard-go that holds it.
KillMode=process
TimeoutStopSec=30
Restart=always
RestartSec=2
ReadWritePaths={folder_}
RuntimeDirectory=wireguard
RuntimeDirectoryPreserve=yes
AmbientCapabilities=CAP_NET_ADMIN
CapabilityBoundingSet=CAP_NET_ADMIN
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
DeviceAllow=/dev/net/tun rw
{_SEALED.format(private_devices="no")}
[Install]
WantedBy=multi-user.target
"""


def _checked(text: str) -> str:
    """A path or a name that cannot end its line nor mean anything to systemd."""
    if _PLAIN.fullmatch(text) is None:
        raise ValueError(f"{text!r}: a path or user in a unit has letters, digits and _ . / @ : - only")
    return text
