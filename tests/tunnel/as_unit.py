"""Run a command as systemd would by a unit file: `python as_unit.py UNIT COMMAND…`.

Needs root and a mount namespace of its own. Carries out what the unit says of: User, WorkingDirectory, UMask,
AmbientCapabilities, CapabilityBoundingSet, NoNewPrivileges, ProtectSystem=strict with ReadWritePaths,
RuntimeDirectory, PrivateTmp, ProtectHome, ProtectKernelTunables, RestrictAddressFamilies, RestrictNamespaces,
MemoryDenyWriteExecute (systemd.exec(5)). The last three are seccomp filters, as systemd makes them.
"""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# System calls: mmap, mprotect, socket, unshare, setns (unistd.h of each architecture).
NUMBERS = {"x86_64": (0xC000003E, 9, 10, 41, 272, 308), "aarch64": (0xC00000B7, 222, 226, 198, 97, 268)}
WRITE_AND_EXECUTE, EXECUTE = 6, 4
EPERM, EAFNOSUPPORT = 1, 97
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
MOUNT_SETATTR, AT_RECURSIVE, READ_ONLY = 442, 0x8000, 1
MS_BIND, MS_REC = 4096, 16384

libc = ctypes.CDLL(None, use_errno=True)


def read_unit(path: Path) -> dict[str, str]:
    """The settings of a unit; none of ours is given twice."""
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line and line[0] != "#")
    return {name: value for name, _, value in pairs}


def main(unit_file: Path, command: list[str]) -> None:
    """As root, in a mount namespace that nobody else is in: confine, drop every right, become the command."""
    unit = read_unit(unit_file)
    account = pwd.getpwnam(unit["User"])
    _confine_files(unit, account.pw_uid, account.pw_gid)
    bounding = _capabilities(unit["CapabilityBoundingSet"])
    ambient = _capabilities(unit["AmbientCapabilities"])
    assert unit["NoNewPrivileges"] == "yes"
    os.umask(int(unit["UMask"], 8))
    os.chdir(unit["WorkingDirectory"])
    os.execvp("setpriv", [
        "setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups",
        f"--bounding-set={bounding}", f"--inh-caps={ambient}", f"--ambient-caps={ambient}", "--no-new-privs",
        sys.executable, __file__, "--sealed", str(unit_file), *command,
    ])  # fmt: skip


def sealed(unit_file: Path, command: list[str]) -> None:
    """As the unit's user: load the filters, become the command."""
    program = b"".join(_filter(read_unit(unit_file)))
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    made = Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    _demand(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(made), 0, 0))
    os.execvp(command[0], command)


def _capabilities(listed: str) -> str:
    """As setpriv writes a set: nothing but what is listed."""
    names = (name.removeprefix("CAP_").lower() for name in listed.split())
    return ",".join(["-all", *(f"+{name}" for name in names)])


def _confine_files(unit: Mapping[str, str], user: int, group: int) -> None:
    writable = unit.get("ReadWritePaths", "").split()
    for name in unit.get("RuntimeDirectory", "").split():
        folder = Path("/run") / name
        folder.mkdir(exist_ok=True)
        os.chown(folder, user, group)
        writable.append(str(folder))
    for path in (*writable, "/proc/sys"):
        _demand(libc.mount(path.encode(), path.encode(), None, MS_BIND | MS_REC, None))
    assert unit["ProtectSystem"] == "strict"
    _set_read_only("/", True)
    for path in (*writable, "/dev", "/proc", "/sys"):
        _set_read_only(path, False)
    if unit["ProtectKernelTunables"] == "yes":
        _set_read_only("/proc/sys", True)
        _set_read_only("/sys", True)
    hidden = {"/tmp": "mode=1777", "/var/tmp": "mode=1777"} if unit["PrivateTmp"] == "yes" else {}
    if unit["ProtectHome"] == "yes":
        hidden |= dict.fromkeys(("/home", "/root"), "ro,mode=0")
    here = [str(Path(one).resolve()) for one in (sys.prefix, sys.base_prefix, __file__)]
    for path, options in hidden.items():
        if not any(one.startswith(f"{path}/") for one in here):  # a program of ours is installed there
            _hide(path, options)


def _hide(path: str, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)


def _set_read_only(path: str, yes: bool) -> None:
    """mount_setattr(2), the whole tree."""
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY if yes else 0, 0 if yes else READ_ONLY, 0, 0)
    _demand(libc.syscall(MOUNT_SETATTR, -100, path.encode(), AT_RECURSIVE, ctypes.byref(attributes), 32))


def _filter(unit: Mapping[str, str]) -> Iterator[bytes]:
    """Classic BPF over `struct seccomp_data`: number at 0, architecture at 4, arguments at 16."""
    architecture, mmap, mprotect, socket_, unshare, setns = NUMBERS[platform.machine()]
    yield from (_load(4), _jump(0x15, architecture, 1, 0), _return(EPERM))
    families = [int(getattr(socket, name)) for name in unit["RestrictAddressFamilies"].split()]
    allowed = [_jump(0x15, family, len(families) - place, 0) for place, family in enumerate(families)]
    yield from _rule(socket_, [_load(16), *allowed, _return(EAFNOSUPPORT), _allow()])
    if unit["MemoryDenyWriteExecute"] == "yes":
        both = [_load(32), _and(WRITE_AND_EXECUTE), _jump(0x15, WRITE_AND_EXECUTE, 0, 1)]
        yield from _rule(mmap, [*both, _return(EPERM), _allow()])
        yield from _rule(mprotect, [_load(32), _jump(0x45, EXECUTE, 0, 1), _return(EPERM), _allow()])
    if unit["RestrictNamespaces"] == "yes":
        yield from _rule(unshare, [_return(EPERM)])
        yield from _rule(setns, [_return(EPERM)])
    yield _allow()


def _rule(number: int, steps: list[bytes]) -> list[bytes]:
    return [_load(0), _jump(0x15, number, 0, len(steps)), *steps]


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return (
        code.to_bytes(2, sys.byteorder) + bytes((yes, no)) + (value & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
    )


def _load(offset: int) -> bytes:
    return _instruction(0x20, offset)


def _and(mask: int) -> bytes:
    return _instruction(0x54, mask)


def _jump(code: int, value: int, yes: int, no: int) -> bytes:
    return _instruction(code, value, yes, no)


def _return(number: int) -> bytes:
    return _instruction(0x06, 0x00050000 | number)


def _allow() -> bytes:
    return _instruction(0x06, 0x7FFF0000)


def _demand(outcome: int) -> None:
    if outcome != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    if sys.argv[1] == "--sealed":
        sealed(Path(sys.argv[2]), sys.argv[3:])
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
