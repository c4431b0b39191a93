from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.errors import SlurmError
from hpcai.slurm.scrontab import blocks, with_block, without_block

OWN = "# mine\n#SCRON -t 5\n@daily true\n"
FILES = st.sampled_from(["/a.yaml", "/it's here/b.yaml", "/a.yaml2"])
LINES = st.lists(st.sampled_from(["@daily true", "#SCRON -t 5", "", "# x"]), max_size=3)


@given(st.lists(st.tuples(FILES, LINES), max_size=5))
def test_blocks_come_and_go_and_leave_the_rest(puts: list[tuple[str, list[str]]]) -> None:
    text = OWN
    for file, lines in puts:
        text = with_block(text, file, lines)
    assert blocks(text) == dict(puts)
    for file, _ in puts:
        text = without_block(text, file)
    assert text == OWN


@pytest.mark.parametrize(
    "text",
    [
        "# BEGIN hpcai submit /a\n",
        "# END hpcai submit /a\n",
        "# BEGIN hpcai submit /a\n# END hpcai submit /b\n",
        "# BEGIN hpcai submit /a\n# BEGIN hpcai submit /b\n# END hpcai submit /b\n",
    ],
)
def test_a_block_that_somebody_cut_is_left_to_them(text: str) -> None:
    with pytest.raises(SlurmError, match="do not belong together"):
        without_block(text, "/a")
