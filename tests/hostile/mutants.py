"""Damage to files, drawn by a number: the same number always gives the same mutant."""

import io
import pickletools
import random
import struct
import zipfile

EXTREME = [struct.pack("<I", value) for value in (0, 1, 2**31 - 1, 2**31, 2**32 - 1)] + [
    struct.pack(order + "Q", value) for value in (2**31, 2**63 - 1, 2**64 - 1) for order in "<>"]
RUN = b"X\x09\x00\x00\x00touch ran"  # what injected code would do, as an opcode
OPEN = b"X\x10\x00\x00\x00open('ran', 'w')"
OPCODES = [
    b"cposix\nsystem\n" + RUN + b"\x85R", b"\x8c\x05posix\x8c\x06system\x93" + RUN + b"\x85R",
    b"(" + RUN + b"iposix\nsystem\n", b"(cposix\nsystem\n" + RUN + b"o",
    b"cbuiltins\neval\n" + OPEN + b"\x85R", b"cbuiltins\nexec\n" + OPEN + b"\x85R",
    b"csubprocess\nPopen\n" + RUN + b"\x85\x81", b"cos\nsystem\n" + RUN + b"\x85R",
    b"ctorch\nload\nX\x03\x00\x00\x00ran\x85R", b"cnumpy\nload\nX\x03\x00\x00\x00ran\x85R",
    b"cbuiltins\ngetattr\n(cbuiltins\nopen\nX\x08\x00\x00\x00__call__tR",
    b"ctorch.storage\n_load_from_bytes\nC\x02.Q\x85R",
    b"P1\n", b"Q", b"\x82\x01", b"b", b"R", b"\x81", b"\x92", b"o", b"0", b"1", b"2", b"a", b"e",
    b"s", b"u", b"d", b"t", b"l", b"\x90", b"\x91", b"\x93", b"\x94", b"\x98", b".",
    b"h\xff", b"q\xff", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x0f", b"r\xff\xff\xff\x7f",
    b"\x8a\xff" + b"\x7f" * 255, b"\x8b\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f",
    b"\x8d" + b"\xff" * 7 + b"\x7f", b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x96" + b"\xff" * 8,
    b"I" + b"9" * 5000 + b"\n", b"F1e999\n", b"N" + b"\x85" * 200_000, b"(" * 100_000,
    b"}" + b"N" + b"\x85" * 200_000 + b"Ns", b"]" * 50_000 + b"a" * 49_999,
]
TOKENS = {
    "csv": [b'"', b"\x00", b"9" * 400, b"nan", b",,,,", b"\n", b"1e999", b"\xff\xfe", b"-1", b"\r",
            b"image,image\n", b"2", b"'", b"\\", b"0x1", b"1_0", b"\xe2\x80\xa8", b"inf", b";",
            b",".join([b"1"] * 2000), b'"\n"', b"True", b"2020-01-01", b"\x1a"],
    "yaml": [b"!!python/object/apply:os.system ['touch ran']", b"!!python/name:os.system ",
             b"!!python/object/new:os.system [touch ran]", b"[" * 2000, b"{" * 2000, b"? ", b"<<: ",
             b"!!binary x", b"!!binary '////'", b"!!timestamp 2001-99-99", b"2001-99-99",
             b"&a [*a]",
             b"*a", b"\t", b"9" * 5000, b"!!int x", b".inf", b".nan", b"0x", b"1:60:99", b"- ",
             b"\x00", b"\xff", b"---\n", b"...\n", b"%YAML 9.9\n", b"!!set {a}", b"!!omap [a]",
             b"null", b"~: ~", b"[]: []", b"{}: 1", b"!!str", b"!x y", b"|", b">", b"'", b'"', b":",
             b"\n" + b"".join(b"k%d: &k%d [%s]\n" % (
                 i, i, b", ".join([b"*k%d" % (i - 1)] * 9) if i else b"1") for i in range(12))],
    "json": [b"[" * 100_000, b"{", b"null", b"1e999", b"-1", b"9" * 5000, b'"', b"\\ud800", b"NaN",
             b"18446744073709551616", b"[]", b'"F64"', b"\x00", b"\xff"],
}


def mutant(sound: list[bytes], kind: str, name: str) -> bytes:
    """One of the sound files, damaged; `name` draws how."""
    rng = random.Random(name)
    data = rng.choice(sound)
    if kind == "zip" and rng.random() < 0.7:
        return inside_zip(data, rng)
    return edited(data, kind, rng)


def edited(data: bytes, kind: str, rng: random.Random) -> bytes:
    """Data after one edit to four."""
    for _ in range(rng.randint(1, 4)):
        if kind in TOKENS and rng.random() < 0.6:
            data = inserted(data, rng.choice(TOKENS[kind]), rng)
        elif kind == "pickle" and rng.random() < 0.7:
            data = with_opcode(data, rng)
        else:
            data = rng.choice((flipped, extreme, cut, repeated, removed, noisy))(data, rng)
    return data


def inside_zip(data: bytes, rng: random.Random) -> bytes:
    """A zip of which one member is damaged, or renamed, its checksum right; PyTorch's files too."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(result, "w") as target:
        members = source.namelist()
        pickles = [name for name in members if name.endswith(".pkl")]
        chosen = rng.choice(pickles if pickles and rng.random() < 0.7 else members)
        for name in members:
            content, new = source.read(name), name
            if name == chosen and not name.endswith(".pkl") and rng.random() < 0.2:
                new = rng.choice(["../" + name, "/tmp/ran.png", "..\\ran.png", name * 50, "\n.png",
                                  members[0]])
            elif name == chosen:
                content = edited(content, "pickle" if name.endswith(".pkl") else "bytes", rng)
            method = zipfile.ZIP_STORED if rng.random() < 0.7 else zipfile.ZIP_DEFLATED
            target.writestr(new, content, method)
    return result.getvalue()


def place(data: bytes, rng: random.Random) -> int:
    """A place in the data; beginnings, where sizes are, more often."""
    return rng.randrange(min(len(data), rng.choice((64, 1024, len(data)))) or 1)


def inserted(data: bytes, token: bytes, rng: random.Random) -> bytes:
    at = place(data, rng)
    return data[:at] + token + data[at:]


def with_opcode(data: bytes, rng: random.Random) -> bytes:
    """An opcode more, between two others."""
    try:
        places = [at for _, _, at in pickletools.genops(data)]
    except Exception:  # damaged already
        places = [place(data, rng)]
    at = rng.choice(places[1:] or places)
    return data[:at] + rng.choice(OPCODES) + data[at:]


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if changed:
            changed[place(data, rng)] = rng.randrange(256)
    return bytes(changed)


def extreme(data: bytes, rng: random.Random) -> bytes:
    at, value = place(data, rng), rng.choice(EXTREME)
    return data[:at] + value + data[at + len(value):]


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def repeated(data: bytes, rng: random.Random) -> bytes:
    at, end = sorted((place(data, rng), place(data, rng)))
    return data[:end] + data[at:end] * rng.choice((1, 2, 50)) + data[end:]


def removed(data: bytes, rng: random.Random) -> bytes:
    at = place(data, rng)
    return data[:at] + data[at + rng.choice((1, 4, 100)):]


def noisy(data: bytes, rng: random.Random) -> bytes:
    return inserted(data, rng.randbytes(rng.choice((1, 8, 300))), rng)
