#!/usr/bin/env python3
"""Runs the program under the restrictions of its systemd unit, where no systemd runs: score is one thing, working another.

    confined.py PATH/TO/ddu UNIT

Read from the unit and laid upon the program by the same means that systemd uses: the system calls of SystemCallFilter
(resolved by `systemd-analyze`), RestrictAddressFamilies, RestrictNamespaces, MemoryDenyWriteExecute, RestrictSUIDSGID,
RestrictRealtime and LockPersonality as one seccomp filter; ProtectSystem, ReadWritePaths, ProtectHome, PrivateTmp,
PrivateDevices and ProtectProc as mounts of its own; NoNewPrivileges, the empty CapabilityBoundingSet, UMask, limits, and
a user who is nobody. First it is tried that each of them holds, then `ddu demo`, its repair, `ddu doctor` and a daemon
must do their work, and the reader of workbooks must be able to raise its own walls on top.

Needs root, and Linux on x86_64; elsewhere it says so and ends with 0.
"""

import ctypes
import errno
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

NOBODY = 65534
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 24, 22, 2
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWIPC = 0x00020000, 0x10000000, 0x08000000
CLONE_NEW_ANY = 0x7E020080
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
AUDIT_ARCH_X86_64 = 0xC000003E
LIBC = ctypes.CDLL(None, use_errno=True)


def settings_of(unit):
    """The [Service] settings: name → values, in order."""
    found = {}
    section = ""
    for line in unit.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value.strip())
    return found


def numbers():
    """System calls by name, as the compiler's headers have them."""
    for header in ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"):
        if os.path.exists(header):
            text = pathlib.Path(header).read_text()
            return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}
    sys.exit("no unistd_64.h: install the C library's headers")


def resolved(names):
    """The calls that groups (`@…`) and names stand for."""
    calls, left = set(), list(names)
    while left:
        name = left.pop()
        if not name.startswith("@"):
            calls.add(name)
            continue
        said = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
        ).stdout
        left += [line.strip() for line in said.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return calls


def allowed_calls(lines):
    """The rule of systemd.exec(5): the first line says what is allowed, `~` takes away."""
    calls = set(resolved(["@default"]))
    for line in lines:
        if line.startswith("~"):
            calls -= resolved(line[1:].split())
        else:
            calls |= resolved(line.split())
    # systemd adds these for its own sake.
    return calls | {"execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn"}


class Filter:
    """A seccomp program in the making."""

    def __init__(self):
        self.code = []

    def emit(self, code, k, jt=0, jf=0):
        self.code.append(struct.pack("HBBI", code, jt, jf, k))

    def load(self, offset):
        self.emit(0x20, offset)

    def give(self, action):
        self.emit(0x06, action)

    def when_equal(self, value, action):
        self.emit(0x15, value, 0, 1)
        self.give(action)

    def when_call(self, number, body):
        """`body` is emitted for this call alone; afterwards the call's number is loaded again."""
        inner = Filter()
        body(inner)
        inner.load(0)
        self.emit(0x15, number, 0, len(inner.code))
        self.code += inner.code

    def when_bits(self, argument, bits, wanted, action):
        """When these bits of an argument are as wanted."""
        self.load(16 + 8 * argument)
        self.emit(0x54, bits)
        self.when_equal(wanted, action)


def program(settings):
    call = numbers()
    denied = ERRNO | errno.EPERM
    bpf = Filter()
    bpf.load(4)
    bpf.emit(0x15, AUDIT_ARCH_X86_64, 1, 0)
    bpf.give(denied)
    bpf.load(0)
    # The x32 calls of the same architecture.
    bpf.emit(0x35, 0x40000000, 0, 1)
    bpf.give(denied)

    families = [getattr(socket, name) for name in settings["RestrictAddressFamilies"][0].split()]

    def of_socket(inner):
        inner.load(16)
        for family in families:
            inner.emit(0x15, family, 0, 2)
            inner.load(0)
            inner.give(ALLOW)
        inner.give(ERRNO | errno.EAFNOSUPPORT)

    bpf.when_call(call["socket"], of_socket)
    if settings["MemoryDenyWriteExecute"] == ["yes"]:
        bpf.when_call(call["mmap"], lambda inner: inner.when_bits(2, 6, 6, denied))
        for name in ("mprotect", "pkey_mprotect"):
            bpf.when_call(call[name], lambda inner: inner.when_bits(2, 4, 4, denied))
        bpf.when_call(call["shmat"], lambda inner: inner.when_bits(2, 0x8000, 0x8000, denied))
    if settings["RestrictNamespaces"] == ["yes"]:
        for name in ("unshare", "setns"):
            bpf.when_call(call[name], lambda inner: inner.give(denied))
        bpf.when_call(call["clone3"], lambda inner: inner.give(ERRNO | errno.ENOSYS))

        def of_clone(inner):
            inner.load(16)
            inner.emit(0x45, CLONE_NEW_ANY, 0, 1)
            inner.give(denied)

        bpf.when_call(call["clone"], of_clone)
    if settings["RestrictSUIDSGID"] == ["yes"]:
        for name, mode in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2)):
            for bit in (0o4000, 0o2000):
                bpf.when_call(call[name], lambda inner, m=mode, b=bit: inner.when_bits(m, b, b, denied))
    if settings["RestrictRealtime"] == ["yes"]:
        bpf.when_call(call["sched_setscheduler"], lambda inner: inner.give(denied))
    if settings["LockPersonality"] == ["yes"]:
        bpf.when_call(call["personality"], lambda inner: inner.give(denied))
    for name in sorted(allowed_calls(settings["SystemCallFilter"])):
        if name in call:
            bpf.when_equal(call[name], ALLOW)
    bpf.give(denied)
    return b"".join(bpf.code)


def must(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def mount(source, target, kind, flags, data=None):
    encoded = [text.encode() if text else None for text in (source, target, kind)]
    must(LIBC.mount(*encoded, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {target}")


def confine(settings, work, bpf):
    """Lays the unit's restrictions upon this process, which is about to become the program."""
    must(LIBC.unshare(CLONE_NEWNS | CLONE_NEWIPC), "unshare")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    state = pathlib.Path("/var/lib/ddu")
    writable = {state: work / "state", pathlib.Path("/srv/ddu"): work / "srv"}
    # A folder over which the unit's own can be laid, whatever this machine has there.
    for place, own in writable.items():
        mount("tmpfs", str(place.parent), "tmpfs", MS_NOSUID | MS_NODEV)
        place.mkdir()
        mount(str(own), str(place), None, MS_BIND)
    devices(work)
    for entry in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        at = entry.split()[1].encode().decode("unicode_escape")
        if at in map(str, writable) or at.startswith(("/proc", "/dev")):
            continue
        flags = MS_REMOUNT | MS_BIND | MS_RDONLY
        flags |= sum(bit for name, bit in (("nosuid", 2), ("nodev", 4), ("noexec", 8)) if name in entry.split()[3].split(","))
        if LIBC.mount(None, at.encode(), None, ctypes.c_ulong(flags), None) != 0 and at == "/":
            raise OSError(ctypes.get_errno(), "remount /")
    for hidden in ("/home", "/root", "/run/user"):
        if os.path.isdir(hidden):
            mount("tmpfs", hidden, "tmpfs", MS_NOSUID | MS_NODEV | MS_RDONLY, "mode=000")
    for private in ("/tmp", "/var/tmp"):
        mount("tmpfs", private, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible")
    os.chdir(state)
    os.umask(int(settings["UMask"][0], 8))
    files = int(settings["LimitNOFILE"][0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        must(LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "drop capability")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    must(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    code = ctypes.create_string_buffer(bpf)

    class Fprog(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    prog = Fprog(len(bpf) // 8, ctypes.addressof(code))
    must(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(prog), 0, 0), "seccomp")


def devices(work):
    """A /dev with what PrivateDevices leaves."""
    own = work / "dev"
    own.mkdir(exist_ok=True)
    mount("tmpfs", str(own), "tmpfs", MS_NOSUID, "mode=755")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (own / name).touch()
        mount(f"/dev/{name}", str(own / name), None, MS_BIND)
    (own / "shm").mkdir(mode=0o1777)
    mount(str(own), "/dev", None, MS_BIND | MS_REC)


def refused():
    """Tries, confined, what the unit forbids; returns what was possible."""
    possible = []

    def tries(what, act):
        try:
            act()
            possible.append(what)
        except OSError:
            pass

    def call(number, *arguments):
        if LIBC.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), "syscall")

    tries("write to /etc", lambda: open("/etc/ddu-confined", "w"))
    tries("write to /usr", lambda: open("/usr/ddu-confined", "w"))
    tries("list /root", lambda: os.listdir("/root"))
    tries("see other processes", lambda: os.stat(f"/proc/{os.getppid()}/status"))
    tries("open a disk", lambda: os.stat("/dev/vda") if os.path.exists("/dev/vda") else open("/dev/mem"))
    tries("a netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    tries("a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    tries("a namespace", lambda: must(LIBC.unshare(CLONE_NEWUSER), "unshare"))
    tries("mount", lambda: mount("tmpfs", "/tmp", "tmpfs", 0))
    tries("set-uid bits", lambda: os.chmod(open("/tmp/x", "w").name, 0o4755))
    tries("trace", lambda: call(101, 0, 0, 0, 0))
    tries("keys of the kernel's load", lambda: call(246, 0, 0, 0, 0))
    LIBC.mmap.restype = ctypes.c_void_p
    if LIBC.mmap(None, 4096, 7, 0x22, -1, 0) != ctypes.c_void_p(-1).value:
        possible.append("memory that can be written and run")
    return possible


def run(settings, work, bpf, arguments, background=False):
    """The program, confined; its output, or the running process."""
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        arguments,
        executable=str(arguments[0]),
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8", "RUST_BACKTRACE": "0"},
        preexec_fn=lambda: confine(settings, work, bpf),
        **outputs,
    )
    if background:
        return process
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def check(good, what, found):
    if not good:
        sys.exit(f"FAILED: {what}: {found}")
    print(f"  {what}")


def main():
    ddu, unit = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    if os.geteuid() != 0 or platform.machine() != "x86_64":
        print("not tried: it takes root on x86_64 to confine a program as systemd does")
        return
    settings = settings_of(unit)
    bpf = program(settings)
    print(f"{unit.name}: {len(bpf) // 8} instructions")
    # Not below /tmp: the program's own /tmp hides this one.
    work = pathlib.Path(tempfile.mkdtemp(prefix="ddu-confined-", dir="/opt"))
    try:
        for name in ("state", "srv"):
            (work / name).mkdir(mode=0o750)
            os.chown(work / name, NOBODY, NOBODY)
        work.chmod(0o755)
        shutil.copy2(ddu, work / "ddu")
        ddu = work / "ddu"
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                confine(settings, work, bpf)
                told = json.dumps(refused())
            except BaseException as error:  # noqa: BLE001
                told = json.dumps([f"confining failed: {error}"])
            os.write(writer, told.encode())
            os._exit(0)
        os.waitpid(child, 0)
        possible = json.loads(os.read(reader, 1 << 16))
        check(not possible, "what the unit forbids is refused", possible)
        for arguments in (["demo", "--dir", "/var/lib/ddu/demo"], ["demo", "--dir", "/var/lib/ddu/demo", "--fix"]):
            code, out, err = run(settings, work, bpf, [ddu, *arguments])
            check(code == 0 and "Every row is accounted for" in out or "heal" in out, f"ddu {' '.join(arguments)}", (code, out, err))
        config = work / "state" / "config.json"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config.write_text(json.dumps({
            "dropbox": "/srv/ddu/dropbox", "lakehouse": "/var/lib/ddu/lakehouse", "listen": f"127.0.0.1:{port}",
            "settle_ms": 100, "sidecar_wait_ms": 100,
        }))
        os.chown(config, NOBODY, NOBODY)
        at_config = ["--config", "/var/lib/ddu/config.json"]
        code, out, err = run(settings, work, bpf, [ddu, "init", *at_config])
        check(code == 0, "ddu init", (code, out, err))
        code, out, err = run(settings, work, bpf, [ddu, "doctor", "--json", *at_config])
        findings = {finding["what"]: finding for finding in json.loads(out)["findings"]}
        check(code == 0, "ddu doctor finds nothing in the way", (out, err))
        held = findings["reader"]["found"]
        check(held.startswith("held by Landlock and seccomp"), "the reader raises its own walls on top", held)
        daemon = run(settings, work, bpf, [ddu, "run", *at_config], background=True)
        try:
            (work / "srv/dropbox/accounts.csv").write_text("Account Name,Account Number\nContoso,000001\nFabrikam,000002\n")
            os.chown(work / "srv/dropbox/accounts.csv", NOBODY, NOBODY)
            tables, deadline = [], time.monotonic() + 120
            while not (tables and tables[0]["written"] == 2):
                check_alive = daemon.poll()
                if check_alive is not None or time.monotonic() > deadline:
                    daemon.kill()
                    sys.exit(f"FAILED: a daemon loads what is dropped: {check_alive} {tables} {daemon.communicate()}")
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=10) as answer:
                        tables = json.load(answer)["tables"]
                except OSError:
                    pass
                time.sleep(0.05)
            print("  a daemon loads what is dropped and shows it on its page")
        finally:
            daemon.send_signal(signal.SIGTERM)
            out, err = daemon.communicate(timeout=120)
        check(daemon.returncode == 0, "it ends as it is asked to", (daemon.returncode, err))
    finally:
        shutil.rmtree(work)


main()
