"""How the checks look at a script: the committed ones are read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.check.job import Surroundings
from hpcai.check.script import check_script
from hpcai.check.script_view import View
from hpcai.specs.site import Site

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "sbatch").glob("*.sbatch"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_srun_of_a_committed_script_is_read_whole(path: Path) -> None:
    view = View(path.read_text(), Path("/"), {})
    steps = [step for _, step in view.steps]
    assert steps
    assert all(step.is_complete for step in steps)
    last = steps[-1]
    assert last.command[0].text == "bash"
    assert last.nodes(1) == int(view.script.value("nodes") or 0)
    assert ("container-image" in last.options) == path.stem.endswith("-pyxis")
    for name in ("container-image", "container-env", "container-workdir"):
        assert all(text.is_known for text in last.options.get(name, ()))


def test_the_parts_of_a_view() -> None:
    view = View("#!/bin/bash\n#SBATCH -D sub --container-mounts=$A:/x\nmkdir -p out\n", Path("/there"), {})
    assert view.folder == Path("/there/sub")
    assert view.batch is not None
    assert not view.batch.options["container-mounts"][0].is_known
    assert view.may_be_made(Path("/there/sub/out"), 1)
    assert not view.may_be_made(Path("/there/sub/out"), 0)
    assert not view.may_be_made(Path("/there/sub/other"), 1)


@pytest.mark.programs
def test_what_several_sruns_share_is_told_once(tmp_path: Path) -> None:
    image = "nvcr.io/nvidia/pytorch:25.03-py3"
    step = f"srun --container-image={image} --container-name=a --container-mounts=/nope/none:/x a\n"
    bad = "srun --container-image=Ubuntu a\n"
    text = "#!/bin/bash\n#SBATCH -t 5 -N 2\nexport NCCL_DEBUG=INFO UCX_TLS=rc\n" + step * 3 + bad * 2
    around = Surroundings(Site(runs_root=tmp_path), {"HOME": str(tmp_path)}, tmp_path / "prices.json")
    told = [one.id for one in check_script(text, tmp_path / "job.sh", around, None).findings]
    shared = ("image-registry-slash", "container-name-stale", "image-pulled-by-all", "mount-missing")
    assert {ident: told.count(ident) for ident in (*shared, "image-wins")} == {
        **dict.fromkeys(shared, 1),
        # Of each image one.
        "image-pulled-by-all": 2,
        "image-wins": 1,
    }
    # What keeps a step from running has the place of each.
    assert told.count("container-option-wrong") == 2
