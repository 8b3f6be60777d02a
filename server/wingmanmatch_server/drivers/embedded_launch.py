"""Becomes an engine: takes its account, ties itself to the process that started it, and turns into the program.

    python -I -S embedded_launch.py PARENT SIGNAL ACCOUNT RIGHT PROGRAM ARGUMENT…

PARENT is the process whose end sends us SIGNAL, on Linux. ACCOUNT is UID:GID, or empty to stay who we are. RIGHT is
`search` for the added right to pass closed folders, or empty. The process id stays the same throughout.

A program, not a module: it runs by itself, with the standard library alone.
"""

import ctypes
import os
import sys

# From <linux/prctl.h> and <linux/capability.h>.
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_READ_SEARCH = 2


class CapabilityHeader(ctypes.Structure):
    """As capset(2) wants it."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilitySets(ctypes.Structure):
    """As capset(2) wants it."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def main() -> None:
    """Do what the module says; a failure ends the process with a sentence."""
    parent, death_signal, account, right, *command = sys.argv[1:]
    try:
        if account:
            become(*map(int, account.split(":")), lend_search=right == "search")
        if sys.platform == "linux":
            # After the change of account, which resets it.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != int(parent):
                sys.exit("whoever started this is gone")
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error}")


def become(uid: int, gid: int, *, lend_search: bool) -> None:
    """Go on as another user. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if lend_search:
        libc.prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if lend_search:
        keep_only_search(libc)


def keep_only_search(libc: ctypes.CDLL) -> None:
    """Keep the right to pass closed folders, for the program too. Raises OSError."""
    bit = 1 << CAP_DAC_READ_SEARCH
    header = CapabilityHeader(CAPABILITY_VERSION_3, 0)
    sets = (CapabilitySets * 2)(CapabilitySets(bit, bit, bit))
    if libc.capset(ctypes.byref(header), sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    if libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    main()
