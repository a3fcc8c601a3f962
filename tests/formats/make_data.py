"""Writes tests/formats/data/: small files as NumPy and Python's zipfile write them. Run with: python3 make_data.py"""
import io
import pathlib
import zipfile

import numpy as np

folder = pathlib.Path(__file__).parent / "data"
folder.mkdir(exist_ok=True)
arrays = {
    "ints": np.arange(6, dtype="<i4").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(24, dtype="<f4").reshape(2, 3, 4)),
    "half": np.array([1.5, -2.0, 65504.0, 6e-8, np.inf], dtype="<f2"),
    "scalar": np.array(-7, dtype="<i8"),
    "bools": np.array([True, False, True]),
    "empty": np.zeros((0, 5), dtype="<f8"),
}
np.savez(folder / "stored.npz", **arrays)
np.savez_compressed(folder / "deflated.npz", **arrays)

with open(folder / "version2.npy", "wb") as file:
    np.lib.format.write_array(file, np.array([3, 1, 2], dtype="<u2"), version=(2, 0))

with zipfile.ZipFile(folder / "plain.zip", "w") as archive:
    archive.writestr("folder/", "")
    archive.writestr("folder/stored.txt", "stored text\n")
    archive.writestr("deflated.txt", "many times the same\n" * 500, zipfile.ZIP_DEFLATED)
    archive.writestr("lzma.txt", "another method", zipfile.ZIP_LZMA)
    with archive.open("zip64.txt", "w", force_zip64=True) as entry:
        entry.write(b"sixty-four bits")
    archive.comment = b"a comment, PK\x05\x06 included"


class Pipe(io.RawIOBase):
    """A stream that cannot seek, so that sizes follow the data."""

    def __init__(self):
        self.content = b""

    def writable(self):
        return True

    def write(self, data):
        self.content += bytes(data)
        return len(data)


pipe = Pipe()
with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("a.txt", "written to a pipe\n" * 10)
(folder / "piped.zip").write_bytes(pipe.content)
