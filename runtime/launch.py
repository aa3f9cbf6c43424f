"""Start a program that ends with its parent, with less than its parent may do.

Linux has no way to ask for this from outside: a process must ask for it itself, before it becomes the program.
Code between fork and exec (`preexec_fn`) runs in a copy of a process with threads and can fail there without
a word, so this file is run as a script: a fresh Python that prepares itself and becomes the program. The
process id stays, what it says of a failure goes where the program's errors go, and it ends with REFUSED.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

REFUSED = 121  # a code of its own: no program we start ends with it
NOBODY = 65534
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
TRIES = 5
PAUSE_S = 0.2

# Root seen as user 1000: files stay root's, no user is made, no folder is opened.
ROOTLESS = "namespace"
AS_NOBODY = "nobody"  # where user namespaces are forbidden, as in many containers


def command(
    *program: str | os.PathLike[str],
    ends_with: signal.Signals = signal.SIGTERM,
    user: str = "",
    nice: int = 0,
    memory_bytes: int = 0,
) -> list[str]:
    """The command line by which `program` gets the signal `ends_with` when this process ends.

    `user` is ROOTLESS, AS_NOBODY, or empty for ours; `memory_bytes` bounds its addresses and forbids core files.
    Outside Linux it is the program itself.
    """
    words = [os.fspath(word) for word in program]
    if sys.platform != "linux":
        return words
    options = [f"--parent={os.getpid()}", f"--signal={int(ends_with)}"]
    options += [f"--user={user}"] if user else []
    options += [f"--nice={nice}"] if nice else []
    options += [f"--memory={memory_bytes}"] if memory_bytes else []
    return [sys.executable, "-I", "-S", __file__, *options, "--", *words]


def main() -> None:
    """Prepare this process and become the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--user", choices=(ROOTLESS, AS_NOBODY))
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("program", nargs="+")
    asked = parser.parse_args()
    try:
        if asked.user == AS_NOBODY:
            _become_nobody()
        elif asked.user == ROOTLESS:
            _enter_namespace()
        # After the change of user, which clears it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, asked.signal)
        if os.getppid() != asked.parent:
            raise OSError("its parent has ended already")
        os.nice(asked.nice)
        if asked.memory:
            resource.setrlimit(resource.RLIMIT_AS, (asked.memory, asked.memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execv(asked.program[0], asked.program)
    except OSError as error:
        sys.stderr.write(f"{asked.program[0]} cannot be started: {error}\n")
        sys.exit(REFUSED)


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _enter_namespace() -> None:
    """Root becomes user 1000 of a namespace of its own; a kernel that is short of something is asked again."""
    user, group = os.geteuid(), os.getegid()
    library = ctypes.CDLL(None, use_errno=True)
    tries = TRIES
    while library.unshare(CLONE_NEWUSER):
        tries -= 1
        if not tries:
            code = ctypes.get_errno()
            raise OSError(code, f"no user namespace: {os.strerror(code)}")
        time.sleep(PAUSE_S)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"1000 {user} 1"),
        ("gid_map", f"1000 {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
