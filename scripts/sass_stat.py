#!/usr/bin/env python3
"""Instructions of compiled kernels, by name and width of access, out of a cubin or of an object file that nvcc made with -no-compress:

    sass_stat.py FILE [WORD]              kernels whose mangled name contains WORD
    sass_stat.py --loops FILE [WORD]      their innermost loops, each counted by itself

Counts are static: an instruction in a loop counts once, and unrolled copies count each. For toolkits without cuobjdump and
nvdisasm. From compute capability 7.0 on an instruction has 16 bytes; its operation is the low 9 bits (bits 9 to 11 say where operands
come from), the width of a memory access bits 73 to 75; a branch holds the distance to its target in bits 34 to 81, in words of 4 bytes
(compute capability 8: later ones differ, and --loops refuses them). Loops are backward branches; what is in them counts once, whichever way
a pass takes. tests/cuda_compiled checks memory accesses against kernels of known widths;
the other names are general knowledge, and an operation that is not listed prints as its number.
"""

import collections
import struct
import sys

OPERATIONS = {
    0x181: "LDG", 0x186: "STG", 0x184: "LDS", 0x188: "STS", 0x183: "LDL", 0x187: "STL", 0x180: "LD", 0x185: "ST", 0x1AE: "LDGSTS",
    0x03B: "LDSM", 0x03C: "HMMA", 0x037: "IMMA", 0x03D: "BMMA", 0x023: "FFMA", 0x021: "FADD", 0x020: "FMUL", 0x009: "FMNMX",
    0x031: "HFMA2", 0x035: "HFMA2.MMA", 0x030: "HADD2", 0x032: "HMUL2", 0x109: "POPC", 0x026: "IDP", 0x012: "LOP3", 0x019: "SHF",
    0x016: "PRMT", 0x010: "IADD3", 0x024: "IMAD", 0x025: "IMAD.WIDE", 0x011: "LEA", 0x002: "MOV", 0x007: "SEL", 0x00C: "ISETP",
    0x00B: "FSETP", 0x108: "MUFU", 0x105: "F2I", 0x106: "I2F", 0x045: "I2FP", 0x189: "SHFL", 0x006: "VOTE", 0x11D: "BAR",
    0x1A8: "ATOMG", 0x18E: "RED", 0x1A6: "RED", 0x118: "NOP", 0x147: "BRA", 0x14D: "EXIT", 0x119: "S2R", 0x1B9: "ULDC",
    0x182: "LDC", 0x1C4: "REDUX", 0x145: "BSSY", 0x141: "BSYNC", 0x10B: "F2F", 0x03E: "F2FP", 0x1AF: "LDGDEPBAR", 0x11A: "DEPBAR",
}  # fmt: skip
MEMORY = {"LDG", "STG", "LDS", "STS", "LDL", "STL", "LD", "ST"}
WIDTHS = ["U8", "S8", "U16", "S16", "32", "64", "128", "?"]

ELF = b"\x7fELF"
CUDA_MACHINE = 190  # e_machine of device code
FAT_MAGIC = struct.pack("<I", 0xBA55ED50)
FAT_CUBIN = 2


class FormatError(Exception):
    pass


def sections(cubin):
    """Name and bytes of each section of a 64-bit ELF file."""
    (offset,) = struct.unpack_from("<Q", cubin, 0x28)
    _, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", cubin, offset + 64 * i) for i in range(count)]
    for header in headers:
        start = headers[names][4] + header[0]
        yield cubin[start : cubin.index(b"\0", start)].decode(), cubin[header[4] : header[4] + header[5]]


def cubins(path):
    """Architecture ("sm_80"; None for a plain cubin) and bytes of the cubins in a file."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != ELF:
        raise FormatError(f"{path}: no ELF file; expected a cubin or an object file of nvcc; make one with nvcc -cubin")
    if struct.unpack_from("<H", data, 0x12)[0] == CUDA_MACHINE:
        yield None, data
        return
    at = data.find(FAT_MAGIC)
    while at >= 0:
        _, _, header, size = struct.unpack_from("<IHHQ", data, at)
        entry, end = at + header, at + header + size
        while entry < end:
            kind, _, entry_header, payload = struct.unpack_from("<HHIQ", data, entry)
            (architecture,) = struct.unpack_from("<I", data, entry + 28)
            body = data[entry + entry_header : entry + entry_header + payload]
            if kind == FAT_CUBIN:
                if body[:4] != ELF:
                    raise FormatError(f"{path}: its device code is compressed; expected plain code; compile with -no-compress")
                yield f"sm_{architecture}", body
            entry += entry_header + payload
        at = data.find(FAT_MAGIC, end)


def kernel_codes(path):
    for architecture, cubin in cubins(path):
        for name, code in sections(cubin):
            if name.startswith(".text."):
                yield architecture, name.removeprefix(".text."), code


def kernels(path):
    """Architecture, mangled name and instruction counts of every kernel in a file."""
    for architecture, name, code in kernel_codes(path):
        yield architecture, name, count(code)


def branch_target(code, at):
    low, high = struct.unpack_from("<QQ", code, at)
    words = low >> 34 | (high & 0x3FFFF) << 30
    return at + 16 + 4 * (words - (1 << 48) if words >> 47 else words)


def loops(code):
    """First and last byte offset of the innermost loops. The compiler closes a kernel with a branch to itself, which tells whether
    branches are understood."""
    branches = [at for at in range(0, len(code), 16) if OPERATIONS.get(struct.unpack_from("<Q", code, at)[0] & 0x1FF) == "BRA"]
    if not branches or branch_target(code, branches[-1]) != branches[-1]:
        raise FormatError("the branches of this architecture are not known; expected compute capability 8.0 to 8.9; choose such a file")
    found = [(branch_target(code, at), at) for at in branches if 0 <= branch_target(code, at) < at]
    return [a for a in found if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in found)]


def count(code):
    counts = collections.Counter()
    for at in range(0, len(code), 16):
        low, high = struct.unpack_from("<QQ", code, at)
        operation = OPERATIONS.get(low & 0x1FF, f"0x{low & 0x1FF:03x}")
        if operation != "NOP":
            counts[f"{operation}.{WIDTHS[high >> 9 & 7]}" if operation in MEMORY else operation] += 1
    return counts


def widths(counts, operation):
    """"32x12 128x4": how many accesses of which width in bits; "-" for none."""
    found = collections.Counter()
    for name, n in counts.items():
        if name.startswith(operation + "."):
            found[int(name.split(".")[1].lstrip("US?") or 0)] += n
    return " ".join(f"{width}x{n}" for width, n in sorted(found.items())) or "-"


def show(architecture, name, counts):
    listed = " ".join(f"{key}={n}" for key, n in counts.most_common())
    print(*([architecture] if architecture else []), name, sum(counts.values()), "instructions:", listed)


def main():
    arguments = sys.argv[1:]
    by_loop = arguments[:1] == ["--loops"]
    arguments = arguments[by_loop:]
    if len(arguments) not in (1, 2):
        sys.exit(__doc__)
    word = arguments[1] if len(arguments) == 2 else ""
    for architecture, name, code in kernel_codes(arguments[0]):
        if word not in name or (by_loop and architecture and not architecture.startswith("sm_8")):
            continue
        if not by_loop:
            show(architecture, name, count(code))
            continue
        for first, last in loops(code):
            show(architecture, f"{name} loop {first:#06x}", count(code[first : last + 16]))


if __name__ == "__main__":
    try:
        main()
    except (FormatError, OSError) as error:
        sys.exit(f"sass_stat.py: {error}")
