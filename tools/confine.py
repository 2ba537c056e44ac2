#!/usr/bin/env python3
"""Runs a command with limits: what a learner's code is started through when it is graded.

    python tools/confine.py '{"read": ["/usr"], "write": ["/tmp/x"], "seconds": 60, "megabytes": 4096}' -m MODULE ...
    python tools/confine.py OPTIONS COMMAND ...

A module is run in this process, after what "preload" names was imported: that is not counted in "megabytes".

Limits of processor time, memory and file size hold on every Unix. On Linux 5.13 and later, where the system has
Landlock switched on, the command and all that it starts can also read only what is under `read` and `write`,
change only what is under `write`, open and take no TCP connection (6.7), and signal no process outside (6.12).
As root it gives up root's privileges first. Standard library only; nothing here knows of notebooks.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import runpy
import sys
from pathlib import Path

# Landlock, as in linux/landlock.h.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
TRUNCATE, IOCTL = 1 << 14, 1 << 15
ACCESS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # version: how many kinds of access it can forbid
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL
READ = EXECUTE | READ_FILE | READ_DIR
DEVICES = {
    "/dev/null": True,
    "/dev/zero": False,
    "/dev/full": False,
    "/dev/random": False,
    "/dev/urandom": False,
}
NO_NEW_PRIVS = 38  # prctl

CAPSET = {"x86_64": 126, "aarch64": 91}  # the number of the system call, by machine


class Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr."""

    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class Beneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def _syscall(number: int, *arguments) -> int:
    """A system call; raises OSError if it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(ctypes.c_long(number), *arguments)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def landlock_version() -> int:
    """Which version of Landlock this system has switched on; 0 for none."""
    if sys.platform != "linux":
        return 0
    try:
        return _syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def landlock(read: list[str], write: list[str]) -> int:
    """Shut this process and its children in; the version of Landlock that did it, 0 if there is none.

    Only the calling thread is shut in: call it before there are others. Paths that do not exist are left out.
    """
    version = landlock_version()
    if not version:
        return 0
    every = (1 << ACCESS[min(version, 5)]) - 1
    ruleset = Ruleset(every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = {True: 24, version < 6: 16, version < 4: 8}[True]
    rules = _syscall(CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    allowed = [(path, READ) for path in read] + [(path, every) for path in write]
    allowed += [(path, READ | WRITE_FILE * writable) for path, writable in DEVICES.items()]
    for path, access in allowed:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            _allow(rules, path, access & every)
    _no_new_privileges()
    _syscall(RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    os.close(rules)
    return version


def _allow(rules: int, path: str, access: int) -> None:
    """Add a rule: this access to a file, or to all that is under a folder."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        access &= -1 if Path(path).is_dir() else ON_FILES
        beneath = Beneath(access, descriptor)
        _syscall(ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), ctypes.byref(beneath), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _no_new_privileges() -> None:
    """No program that is started from here on gains a privilege by being started."""
    ctypes.CDLL(None, use_errno=True).prctl(NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_privileges() -> None:
    """Give up what root may do and others may not; limits could else be lifted again. Linux only."""
    number = CAPSET.get(os.uname().machine)
    if sys.platform != "linux" or os.geteuid() != 0 or number is None:
        return
    _no_new_privileges()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    _syscall(number, ctypes.byref(header), ctypes.byref(none))


def limit(seconds: int, megabytes: int, file_megabytes: int | None = None) -> None:
    """Limit processor time, memory beyond what is taken already, and the size of files; never raise a limit."""
    # Address space, and not only data: shared memory counts too. What is only reserved is not used.
    _lower(resource.RLIMIT_CPU, seconds, seconds + 5)
    _lower(resource.RLIMIT_AS, _address_space() + megabytes * 1_000_000)
    _lower(resource.RLIMIT_CORE, 0)
    if file_megabytes is not None:
        _lower(resource.RLIMIT_FSIZE, file_megabytes * 1_000_000)


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, unless a lower one is there."""
    now = resource.getrlimit(kind)[1]
    values = [value if now == resource.RLIM_INFINITY else min(value, now) for value in (soft, hard or soft)]
    with contextlib.suppress(OSError, ValueError):  # macOS refuses some
        resource.setrlimit(kind, tuple(values))


def _address_space() -> int:
    """How many bytes of address space this process has."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 4_000_000_000  # no /proc: what Python with PyTorch takes


def main(words: list[str]) -> None:
    """Shut this process in, then become the module or the command."""
    options, command = json.loads(words[0]), words[1:]
    drop_privileges()
    landlock(options.get("read", []), options.get("write", []))
    for name in options.get("preload", []):
        importlib.import_module(name)
    limit(options["seconds"], options["megabytes"], options.get("file_megabytes"))
    if command[0] != "-m":
        os.execvp(command[0], command)
    sys.argv = command[1:]
    sys.path[:1] = []  # the folder of this file
    runpy.run_module(command[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
