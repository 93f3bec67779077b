#!/usr/bin/env python3
"""Rebuilds a layer from a delta and the old layers, without dpl.

    rebuild_layer.py DELTA OUTPUT [OLD-LAYER ...]

OLD-LAYER are uncompressed tars, in any order; they are known by their digests. OUTPUT is the new layer as an
uncompressed tar. Needs Python 3.8, and one of: Python 3.14, the module `zstandard`, the command `zstd`.
docs/package-format.md explains each step.
"""

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tempfile


def unzstd(frame, size, prefix=b""):
    """The content of a zstd frame that was made with this prefix."""
    try:
        import zstandard
    except ImportError:
        zstandard = None
    try:
        from compression import zstd
    except ImportError:
        zstd = None
    if zstandard:
        old = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if prefix else None
        return zstandard.ZstdDecompressor(dict_data=old).decompress(frame, max_output_size=size)
    if zstd:
        old = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
        return zstd.decompress(frame, zstd_dict=old)
    with tempfile.NamedTemporaryFile() as file:
        file.write(prefix)
        file.flush()
        return subprocess.run(
            ["zstd", "--decompress", "--stdout", "--quiet", *(["--patch-from=" + file.name] if prefix else [])],
            input=frame, stdout=subprocess.PIPE, check=True,
        ).stdout


def number(control):
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    value = shift = 0
    while True:
        byte = control.read(1)[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value


def digest_of(file):
    digest = hashlib.sha256()
    file.seek(0)
    for block in iter(lambda: file.read(1 << 20), b""):
        digest.update(block)
    return "sha256:" + digest.hexdigest()


def rebuild(delta_path, output_path, old_paths):
    with open(delta_path, "rb") as delta:
        if delta.readline() != b"dpl-delta 1\n":
            sys.exit("this is not a delta of format 1")
        header = json.loads(delta.readline())
        body = delta.read()
    if "sha256:" + hashlib.sha256(body).hexdigest() != header["body"]["digest"]:
        sys.exit("the delta is damaged")

    given = {digest_of(file): file for file in (open(path, "rb") for path in old_paths)}
    missing = [base["diff_id"] for base in header["bases"] if base["diff_id"] not in given]
    if missing:
        sys.exit("these old layers are needed: " + " ".join(missing))
    bases = {base["number"]: given[base["diff_id"]] for base in header["bases"]}

    def old(control):
        base, offset, size = number(control), number(control), number(control)
        bases[base].seek(offset)
        return bases[base].read(size)

    # The groups: four sizes, a part of the control frame, and a frame of new data.
    groups, control_frame, place = [], b"", 0
    while place < len(body):
        control_packed, control_size, segment_packed, segment_size = struct.unpack_from("<4I", body, place)
        place += 16
        control_frame += body[place:place + control_packed]
        place += control_packed
        groups.append((control_size, body[place:place + segment_packed], segment_size))
        place += segment_packed
    control_all = io.BytesIO(unzstd(control_frame, sum(size for size, _, _ in groups)))

    with open(output_path, "w+b") as output:
        for control_size, frame, segment_size in groups:
            control = io.BytesIO(control_all.read(control_size))
            prefix, segment = b"", None
            while operation := control.read(1):
                if operation == b"\4":
                    prefix += old(control)
                    continue
                if segment is None and frame:
                    segment = io.BytesIO(unzstd(frame, segment_size, prefix))
                if operation == b"\1":
                    output.write(control.read(number(control)))
                elif operation == b"\2":
                    output.write(old(control))
                elif operation == b"\3":
                    output.write(segment.read(number(control)))
        output.flush()
        if digest_of(output) != header["result"]["diff_id"]:
            os.unlink(output_path)
            sys.exit("what was rebuilt is not the layer: an old layer or the delta is another one")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    rebuild(sys.argv[1], sys.argv[2], sys.argv[3:])
