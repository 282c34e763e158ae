"""Reads an LMDB, as a program of its own: a damaged database ends it, and not who asked.

    python lmdb_reader.py FOLDER LARGEST

writes all keys to its output, each after its length (4 bytes, little-endian), and a length of 0.
Then it answers each key that it reads, also after its length, with the value after its length: 8
bytes, or -1 if there is no such key or the value has more than LARGEST bytes.
"""

from __future__ import annotations

import signal
import struct
import sys
from typing import BinaryIO

import lmdb

SECONDS = 20  # for one value; a damaged database can have no end


def main(folder: str, largest: int, questions: BinaryIO, answers: BinaryIO) -> None:
    """List the keys, then answer until the questions end."""
    database = lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
    with database.begin() as transaction:
        last = b""
        for key in transaction.cursor().iternext(values=False):
            if not last < key:
                raise SystemExit("keys out of order: the database is damaged")
            answers.write(struct.pack("<I", len(key)) + key)
            last = key
        answers.write(struct.pack("<I", 0))
        answers.flush()
    limit = getattr(signal, "alarm", lambda seconds: None)  # which Windows lacks
    while head := questions.read(4):
        key = questions.read(*struct.unpack("<I", head))
        limit(SECONDS)
        with database.begin(buffers=True) as transaction:
            value = transaction.get(key)
            if value is None or len(value) > largest:
                answers.write(struct.pack("<q", -1))
            else:
                answers.write(struct.pack("<q", len(value)))
                answers.write(value)
        answers.flush()
        limit(0)  # until the next question, hours may pass


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
