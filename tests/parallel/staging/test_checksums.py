"""CRC-32C is that of the standard, wherever the bytes lie."""

import mmap

import pytest

from exastorm.parallel.staging.checksums import BLOCK_BYTES, crc32c, crc32c_of_file

# RFC 3720, appendix B.4: of 32 zeros, of 32 ones, of the bytes 0 to 31 (there as bytes on a wire).
KNOWN = [
    (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
    (b"", 0),
]  # fmt: skip


@pytest.mark.parametrize(("content", "value"), KNOWN)
def test_known_values(content, value):
    assert crc32c(content) == value
    assert crc32c(bytearray(content)) == value
    assert crc32c(memoryview(content)) == value
    assert crc32c(memoryview(bytearray(content))) == value
    assert crc32c(content[5:], crc32c(content[:5])) == value


def test_memory_maps_and_parts_of_them():
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    memory[3:35] = bytes(range(32))
    assert crc32c(memoryview(memory)[3:35]) == 0x46DD794E
    memory.close()  # Nothing holds on to it.


def test_of_a_file_and_its_progress(tmp_path):
    content = bytes(range(256)) * (BLOCK_BYTES // 256) + b"end"
    (tmp_path / "a").write_bytes(content)
    told = []
    assert crc32c_of_file(tmp_path / "a", told.append) == (len(content), crc32c(content))
    assert sum(told) == len(content)
    assert len(told) > 1
