from __future__ import annotations

import io

import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcai.staging.chunks import HashingWriter, hash_chunk
from hpcai.staging.manifest import CHUNK_BYTES


@settings(max_examples=20)
@given(st.lists(st.integers(0, CHUNK_BYTES + 5), max_size=4))
def test_chunks_do_not_depend_on_how_it_was_written(lengths: list[int]) -> None:
    out = io.BytesIO()
    writer = HashingWriter(out)
    for number, length in enumerate(lengths):
        writer.write(bytes([number]) * length)
    data = out.getvalue()
    expected = [hash_chunk(data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)]
    assert list(writer.chunks()) == expected
    assert writer.bytes == len(data)


def test_the_hash_is_xxh3_128() -> None:
    assert hash_chunk(b"") == xxhash.xxh3_128_hexdigest(b"") == "99aa06d3014798d86001c324468d497f"
