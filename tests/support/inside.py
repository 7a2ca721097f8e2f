"""System calls made by a running process that another one chose: what its sandbox lets pass, seen from inside.

The process is stopped for a moment (ptrace), makes the call with its own rights, and goes on as if nothing had been.
"""

import contextlib
import ctypes
import os
import platform
import signal

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

GETREGS, SETREGS, SINGLESTEP, ATTACH, DETACH = 12, 13, 9, 16, 17
WALL = 0x40000000
SYSCALL = b"\x0f\x05"
# Below what a function may use of the stack without moving its pointer.
RED_ZONE = 128

NAMES = """r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs
gs""".split()


class Registers(ctypes.Structure):
    """`struct user_regs_struct` of x86-64."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES]


def why_not():
    """Why it cannot be done here; None if it can."""
    return None if platform.machine() == "x86_64" else "written for the registers of x86-64"


def _ptrace(request, pid, data=None):
    if _libc.ptrace(request, pid, None, data) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _stopped(pid):
    _, status = os.waitpid(pid, WALL)
    assert os.WIFSTOPPED(status), f"process {pid} ended: {status}"


@contextlib.contextmanager
def _held(pid):
    """The process stopped in a system call, and its registers there."""
    while True:
        _ptrace(ATTACH, pid)
        _stopped(pid)
        registers = Registers()
        _ptrace(GETREGS, pid, ctypes.addressof(registers))
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(registers.rip - len(SYSCALL))
            if memory.read(len(SYSCALL)) == SYSCALL:
                break
        _ptrace(DETACH, pid)
    try:
        yield registers
    finally:
        _ptrace(SETREGS, pid, ctypes.addressof(registers))
        _ptrace(DETACH, pid)


def call(pid, number, *arguments):
    """What a system call of the process (or of one of its threads, by its id) returns; text among the arguments is put where it can be read. At most four."""
    with _held(pid) as registers, open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        place = registers.rsp - RED_ZONE
        values = []
        kept = []
        for argument in arguments:
            if isinstance(argument, (str, os.PathLike)):
                text = os.fsencode(argument) + b"\0"
                place = (place - len(text)) & ~0xF
                memory.seek(place)
                kept.append((place, memory.read(len(text))))
                memory.seek(place)
                memory.write(text)
                argument = place
            values.append(argument & 0xFFFF_FFFF_FFFF_FFFF)
        changed = Registers.from_buffer_copy(registers)
        changed.rax, changed.orig_rax, changed.rip = number, 0xFFFF_FFFF_FFFF_FFFF, registers.rip - len(SYSCALL)
        for name, value in zip(("rdi", "rsi", "rdx", "r10"), values):
            setattr(changed, name, value)
        _ptrace(SETREGS, pid, ctypes.addressof(changed))
        _ptrace(SINGLESTEP, pid)
        _, status = os.waitpid(pid, WALL)
        assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP, f"process {pid}: status {status:#x}"
        _ptrace(GETREGS, pid, ctypes.addressof(changed))
        for place, before in kept:
            memory.seek(place)
            memory.write(before)
        return ctypes.c_longlong(changed.rax).value
