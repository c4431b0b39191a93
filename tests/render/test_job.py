from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai import shell
from hpcai.errors import NotFoundError, RenderError
from hpcai.render.environment import quote, sbatch_quote, shipped
from hpcai.render.job import render_job
from hpcai.render.resolved import ResolvedJob, resolve_job
from hpcai.specs.job import JobSpec
from hpcai.specs.load import load
from hpcai.specs.site import Site

PROJECT = Path(__file__).parent.parent.parent
CASES = PROJECT / "tests/cases/render"
GOLDEN = PROJECT / "tests/golden/render"
HOME = Path("/shared/home/user")
SITE = Site(runs_root=HOME / "hpcai/runs", secrets_folder=HOME / ".secrets")
INTERPRETER = HOME / "hpcai/.venv/bin/python"


def resolved(spec: JobSpec, site: Site = SITE) -> ResolvedJob:
    return resolve_job(spec, site, interpreter=INTERPRETER, cwd=HOME)


def job(**fields: Any) -> JobSpec:
    return JobSpec(**({"name": "a", "command": "true"} | fields))


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_a_job_becomes_its_script(case: Path, golden: Callable[[Path, str], None]) -> None:
    spec = load(case, check_paths=False)
    assert isinstance(spec, JobSpec)
    run_dir = SITE.runs_root / spec.experiment / f"{spec.name}-20261120-120000"
    text = render_job(resolved(spec), run_dir, where="local" if case.stem == "local" else "slurm")
    golden(GOLDEN / f"{case.stem}.sbatch", text)


SCRIPTS = [
    *shipped("sbatch").glob("*.sbatch"),
    *GOLDEN.glob("*.sbatch"),
    *(GOLDEN.parent / "cluster").glob("*.sbatch"),
]


def test_samples_are_a_record_s_and_can_be_left_out(tmp_path: Path) -> None:
    """What has no record has nothing of ours on the nodes."""
    texts = {
        "recorded": render_job(resolved(job()), tmp_path),
        "switched off": render_job(resolved(job(samples=False)), tmp_path),
        "by hand": render_job(resolved(job()), None),
    }
    assert [name for name, text in texts.items() if "hpcai_sample" in text] == ["recorded"]


@pytest.mark.programs
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_bash(script: Path) -> None:
    assert shell.run(["bash", "-n", script], timeout_s=10).stderr == ""


@pytest.mark.programs
def test_shellcheck_finds_nothing_in_any_script() -> None:
    # SC2016: what stands in single quotes is meant for the shell of each task, which expands it there.
    # SC2089 and SC2090: the quotes of JSON are meant to stay.
    argv = [Path(sys.executable).with_name("shellcheck"), "--exclude=SC2016,SC2089,SC2090"]
    own = [PROJECT / "dev", PROJECT / ".ci/run", *PROJECT.glob("hpcai/slurm/local/standin/enroot")]
    assert shell.run([*argv, *SCRIPTS, *own], timeout_s=60, check=False).stdout == ""


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_bash_reads_a_quoted_text_as_one_word(text: str) -> None:
    assert shlex.split(quote(text)) == [text]


@pytest.mark.programs
def test_bash_itself_reads_quoted_texts_back(tmp_path: Path) -> None:
    texts = [
        "",
        " ",
        "'",
        '"',
        "it's",
        "$(x)",
        "`x`",
        "a\nb",
        "\\",
        "\\'",
        "!x",
        "*",
        "~",
        "#a",
        "-n",
        "ü漢",
        "a=b",
    ]
    script = tmp_path / "words.sh"
    script.write_text("printf '%s\\0' " + " ".join(map(quote, texts)), encoding="utf-8")
    assert shell.run(["bash", script], timeout_s=10).stdout.split("\0")[:-1] == texts


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=40))
def test_an_sbatch_value_is_read_back_by_its_own_rules(text: str) -> None:
    word = sbatch_quote(text)
    if word != text:
        assert (word[0], word[-1]) == ('"', '"')
        assert re.sub(r"\\(.)", r"\1", word[1:-1]) == text
        assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', word, re.DOTALL)
    assert word == text or not re.fullmatch(r"[\w.]+", text, re.ASCII)


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "\x1b[0m"])
def test_what_no_sbatch_line_can_hold_is_refused(text: str) -> None:
    with pytest.raises(RenderError, match="control character"):
        sbatch_quote(text)
    with pytest.raises(RenderError, match="zero byte"):
        quote("\0")


def test_the_profile_fills_what_the_spec_leaves_out_and_the_spec_wins() -> None:
    done = resolved(job(profile="Standard_ND96isr_H100_v5", env={"UCX_TLS": "tcp"})).to_json()
    assert (done["ntasks_per_node"], done["cpus_per_task"], done["gpus_per_node"], done["mem_gib"]) == (
        8,
        12,
        8,
        0,
    )
    assert done["cpu_bind"].startswith("mask_cpu:ffffff000000,")
    assert done["env"]["NCCL_TOPO_FILE"] == "/opt/microsoft/ndv5-topo.xml"
    assert done["env"]["UCX_TLS"] == "tcp"
    assert done["env"]["OMP_NUM_THREADS"] == "12"
    assert json.loads(json.dumps(done)) == done


# Slurm has 95 % of the size's 1900 GiB to give.
@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        ({"gpus_per_node": 1}, (1, 12, 1, 225)),
        ({"ntasks_per_node": 2}, (2, 12, 2, 451)),
        # Eight ranks on four GPUs have the cores of four.
        ({"ntasks_per_node": 8, "gpus_per_node": 4}, (8, 6, 4, 902)),
        ({"gpus_per_node": 1, "cpus_per_task": 4}, (1, 4, 1, 225)),
        ({"gpus_per_node": 1, "mem_gib": 64}, (1, 12, 1, 64)),
        ({"gpus_per_node": 1, "exclusive": True}, (1, 12, 1, 0)),
        # Without GPUs memory goes by the cores.
        ({"gpus_per_node": 0, "ntasks_per_node": 1, "cpus_per_task": 24}, (1, 24, 0, 451)),
        # All GPUs are the whole node, however many tasks there are.
        ({"ntasks_per_node": 4, "gpus_per_node": 8}, (4, 24, 8, 0)),
    ],
)
def test_a_part_of_a_node_takes_its_share_and_no_mask(
    asked: dict[str, Any], shape: tuple[int, int, int, float]
) -> None:
    done = resolved(job(profile="Standard_ND96isr_H100_v5", **asked))
    spec = done.spec
    assert (spec.ntasks_per_node, spec.cpus_per_task, spec.gpus_per_node, spec.mem_gib) == shape
    assert done.cpu_bind is None


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        ({}, (176, 1, 0)),
        ({"ntasks_per_node": 4}, (4, 44, 0)),
        ({"ntasks_per_node": 4, "cpus_per_task": 11}, (4, 11, 182)),
    ],
)
def test_tasks_share_the_cores_and_memory_of_a_node_without_gpus(
    asked: dict[str, int], shape: tuple[int, int, int]
) -> None:
    done = resolved(job(profile="Standard_HB176rs_v4", **asked)).spec
    assert (done.ntasks_per_node, done.cpus_per_task, done.mem_gib) == shape
    assert done.gpus_per_node is None


def test_a_whole_node_does_not_need_the_table_of_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCAI_VM_SIZES", "/nonexistent/sizes.csv")
    assert resolved(job(profile="Standard_ND96isr_H100_v5")).spec.mem_gib == 0
    with pytest.raises(NotFoundError, match="HPCAI_VM_SIZES"):
        resolved(job(profile="Standard_ND96isr_H100_v5", gpus_per_node=1))


def test_without_a_profile_nothing_is_assumed() -> None:
    done = resolved(job(gpus_per_node=1)).spec
    assert (done.ntasks_per_node, done.cpus_per_task, done.gpus_per_node, done.mem_gib) == (1, None, 1, None)


def test_a_part_of_a_profile_is_asked_for_by_name() -> None:
    plain, sharp = (resolved(job(profile=f"nd96isr_h100_v5{part}")).spec.env for part in ("", "+sharp"))
    assert set(sharp) - set(plain) == {
        "NCCL_COLLNET_ENABLE",
        "SHARP_COLL_ENABLE_PCI_RELAXED_ORDERING",
        "SHARP_COLL_ENABLE_SAT",
        "SHARP_COLL_LOG_LEVEL",
        "SHARP_SMX_UCX_INTERFACE",
    }
    assert {key: sharp[key] for key in plain} == plain


def test_an_unknown_profile_is_not_found_with_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'Standard_ND96isr_H100_v5'") as raised:
        resolved(job(profile="ND96isr_H100"))
    assert raised.value.exit_status == 5


def test_defaults_become_explicit_and_the_current_folder_is_where_it_starts() -> None:
    done = resolved(job())
    assert (done.spec.ntasks_per_node, done.workdir) == (1, HOME)
    assert resolve_job(job(), SITE, interpreter=INTERPRETER).workdir == Path.cwd()


def test_the_site_places_reach_the_script_and_no_secret_does() -> None:
    site = Site(
        SITE.runs_root,
        "/nvme/%n x",
        "acc",
        "http://127.0.0.1:1/acc",
        HOME / "it's/key.json",
        ("a.example", "b"),
    )
    text = render_job(resolved(job(), site), HOME / "run")
    for line in (
        "export HPCAI_SCRATCH='/nvme/%n x'",
        "export AZURE_STORAGE_ACCOUNT=acc",
        "export HPCAI_STORAGE_ENDPOINT=http://127.0.0.1:1/acc",
        r"export HPCAI_STORAGE_CREDENTIALS='/shared/home/user/it'\''s/key.json'",
        "export HPCAI_ALLOW_HTTP='a.example,b'",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("fields", "sbatch", "step", "logs"),
    [
        # A whole number per node is said both ways; any other is Slurm's to lay out.
        ({"ntasks": 4}, ["--ntasks=4", "--ntasks-per-node=2"], ["--ntasks=4", "--ntasks-per-node=2"], 4),
        ({"ntasks": 3}, ["--ntasks=3"], ["--ntasks=3"], 3),
        ({"ntasks": 3, "launcher": "mpi"}, ["--ntasks=3"], ["--ntasks=3"], 3),
        (
            {"ntasks": 8, "launcher": "horovod", "horovod_controller": "gloo"},
            ["--ntasks=8", "--ntasks-per-node=4"],
            ["--ntasks=8", "--ntasks-per-node=4"],
            8,
        ),
        # Of torchrun they are ranks.
        (
            {"ntasks": 8, "launcher": "torchrun"},
            ["--ntasks-per-node=1"],
            ["--ntasks=2", "--ntasks-per-node=1"],
            2,
        ),
    ],
)
def test_tasks_in_all(fields: dict[str, Any], sbatch: list[str], step: list[str], logs: int) -> None:
    text = render_job(resolved(job(nodes=2, **fields)), HOME / "run")
    assert re.findall(r"^#SBATCH (--ntasks\S*)", text, re.MULTILINE) == sbatch
    assert re.findall(r"^  (--ntasks\S*) ", text, re.MULTILINE) == step
    assert f"hpcai_rank < {logs};" in text
    if fields.get("launcher") == "torchrun":
        assert "--nproc-per-node=4" in text


def test_a_node_with_some_tasks_more_is_what_a_profile_is_cut_for() -> None:
    done = resolved(job(profile="Standard_ND96isr_H100_v5", nodes=2, ntasks=3)).spec
    assert (done.ntasks, done.ntasks_per_node, done.gpus_per_node, done.cpus_per_task) == (3, None, 2, 12)
    assert resolved(job(profile="Standard_ND96isr_H100_v5", nodes=2, ntasks=15)).cpu_bind is None
    whole = resolved(job(profile="Standard_ND96isr_H100_v5", nodes=2, ntasks=16))
    assert whole.spec.ntasks_per_node == 8 and whole.cpu_bind is not None


def test_a_part_has_what_the_job_has_unless_it_says_otherwise() -> None:
    parts = [{"nodes": 2, "ntasks": 4}, {"profile": None, "ntasks_per_node": 1, "gpus_per_node": 0}]
    del parts[1]["profile"]
    done = resolved(job(profile="Standard_ND96isr_H100_v5", time_min=5, components=parts))
    shapes = [(one.nodes, one.ntasks_per_node, one.gpus_per_node, one.time_min) for one in done.spec.parts]
    assert shapes == [(2, 2, 2, 5), (1, 1, 0, 5)]
    assert done.to_json()["nodes"] == 3
    again = JobSpec.model_validate_json(done.spec.model_dump_json(), strict=False)
    assert again.parts == done.spec.parts


def test_torchrun_gets_one_task_per_node_with_the_cores_of_all_its_ranks() -> None:
    text = render_job(resolved(job(launcher="torchrun", ntasks_per_node=4, cpus_per_task=6)), HOME / "run")
    assert "#SBATCH --ntasks-per-node=1" in text
    assert "#SBATCH --cpus-per-task=24" in text
    assert "--nproc-per-node=4" in text


@pytest.mark.parametrize(
    ("fields", "least"),
    [
        ({"ntasks_per_node": 8}, ["8"]),
        ({"gpus_per_node": 8}, ["8"]),
        ({"ntasks": 8, "nodes": 2}, ["4"]),
        ({}, []),
        ({"ntasks_per_node": 8, "mincpus": 32}, ["32"]),
        ({"ntasks_per_node": 8, "cpus_per_task": 2}, []),
        ({"gpus_per_node": 8, "cpus_per_gpu": 4}, []),
        ({"ntasks_per_node": 8, "launcher": "mpi"}, []),
    ],
)
def test_each_rank_of_torchrun_has_a_cpu_where_nobody_says_more(
    fields: dict[str, Any], least: list[str]
) -> None:
    text = render_job(resolved(job(**{"launcher": "torchrun", **fields})), HOME / "run")
    assert re.findall(r"^#SBATCH --mincpus=(.*)", text, re.MULTILINE) == least


@pytest.mark.parametrize("place", ["keyvault://my-vault/db", "file:/home/ada/.key"])
def test_a_script_by_hand_knows_the_interpreter_that_asks_a_key_vault(place: str) -> None:
    text = render_job(resolved(job(secrets={"PASSWORD": place})), None)
    assert ("export HPCAI_PYTHON=" in text) == ('"$HPCAI_PYTHON"' in text) == place.startswith("keyvault")


@pytest.mark.parametrize(("given", "in_all"), [("1", "4"), ("h100:2", "h100:8")])
def test_torchrun_gets_the_gpus_of_all_its_ranks(given: str, in_all: str) -> None:
    text = render_job(
        resolved(job(launcher="torchrun", ntasks_per_node=4, gpus_per_task=given)), HOME / "run"
    )
    assert f"#SBATCH --gpus-per-task={in_all}\n" in text


def test_no_gpus_is_no_option() -> None:
    assert "--gpus-per-node" not in render_job(resolved(job(gpus_per_node=0)), None)


def test_tensorflow_s_tasks_lie_node_by_node_in_the_job_s_own_words_if_any() -> None:
    texts = [
        render_job(resolved(job(launcher="tensorflow", distribution=own)), None)
        for own in (None, "block:cyclic")
    ]
    assert ["--distribution=block \\\n" in text for text in texts] == [True, False]


@pytest.mark.parametrize(
    ("launcher", "ranks"), [("torchrun", 8), ("horovod", 8), ("srun", 1), ("mpi", 1), ("tensorflow", 1)]
)
@pytest.mark.parametrize("asked", [{"gpus_per_node": 8}, {"gpus": "16"}, {"gres": "gpu:h100:8"}])
def test_a_rank_per_gpu_where_the_launcher_has_it_so(
    launcher: str, ranks: int, asked: dict[str, Any]
) -> None:
    assert resolved(job(launcher=launcher, nodes=2, **asked)).spec.ntasks_per_node == ranks
    assert resolved(job(launcher=launcher, nodes=2, ntasks_per_node=2, **asked)).spec.ntasks_per_node == 2
    none = {"gpus_per_node": 0, "profile": "Standard_ND96isr_H100_v5", "ntasks_per_node": 3}
    assert resolved(job(launcher=launcher, **none)).spec.ntasks_per_node == 3


@pytest.mark.parametrize(
    ("fields", "has_pmix", "controller"),
    [
        ({}, True, "mpi"),
        ({}, False, "gloo"),
        # What was asked for by name stays; where it cannot run, it is refused before the queue.
        ({"horovod_controller": "mpi"}, False, "mpi"),
        ({"horovod_controller": "gloo"}, True, "gloo"),
        ({"env": {"HOROVOD_CPU_OPERATIONS": "GLOO"}}, True, "gloo"),
        ({"env": {"HOROVOD_CPU_OPERATIONS": "MPI"}}, False, "mpi"),
    ],
)
def test_horovod_goes_by_gloo_where_there_is_no_pmix(
    fields: dict[str, Any], has_pmix: bool, controller: str
) -> None:
    spec = job(launcher="horovod", **fields)
    done = resolve_job(spec, SITE, interpreter=INTERPRETER, has_pmix=has_pmix)
    assert done.to_json()["horovod_controller"] == controller
    script = render_job(done, HOME / "run").splitlines()
    assert f"export HOROVOD_CONTROLLER={controller}" in script
    assert ("  --mpi=pmix \\" in script) == (controller == "mpi")
    assert any("HOROVOD_GLOO_RENDEZVOUS_ADDR" in line for line in script) == (controller == "gloo")


def test_only_horovod_has_a_controller() -> None:
    assert resolve_job(job(), SITE, interpreter=INTERPRETER, has_pmix=False).spec.horovod_controller is None


@pytest.mark.parametrize(
    ("fields", "run_dir", "where", "message"),
    [
        ({"nodes": 2}, "/r", "local", "`nodes: 2` cannot run on this machine alone."),
        ({"container": {"image": "a"}}, "/r", "local", "needs Slurm with Pyxis"),
        (
            {"launcher": "tensorflow", "profile": "Standard_ND96isr_H100_v5", "parameter_servers": 7},
            *("/r", "slurm", "`parameter_servers: 7` of 8 tasks leaves no chief and worker."),
        ),
        (
            {"launcher": "tensorflow", "ntasks_per_node": 65},
            "/r",
            "slurm",
            "`launcher: tensorflow` takes at most 64 tasks",
        ),
        ({"array": "0-3"}, "/r", "local", "`array: 0-3` needs Slurm"),
        ({"components": [{}, {}]}, "/r", "local", "`components:` needs Slurm"),
        ({"array": "0-3"}, "/100%/r", "slurm", "holds '%': there Slurm cannot give each task"),
        ({}, "r", "slurm", "is not an absolute path"),
        ({}, "/back\\slash", "slurm", "holds a backslash"),
        ({}, "/new\nline", "slurm", "holds a control character"),
        ({"container": {"image": "a"}}, "/with,comma", "slurm", "cannot be mounted into a container"),
        ({"container": {"image": "a"}}, "/with:colon", "slurm", "cannot be mounted into a container"),
    ],
)
def test_what_no_script_can_carry_is_refused(
    fields: dict[str, Any], run_dir: str, where: Any, message: str
) -> None:
    with pytest.raises(RenderError, match=re.escape(message)) as raised:
        render_job(resolved(job(**fields)), Path(run_dir), where=where)
    assert raised.value.exit_status == 3


@pytest.mark.parametrize(
    "asks",
    [
        {"gpus_per_node": 1},
        {"gpus": 1},
        {"gres": "gpu:1"},
        {"gres": "gpu:h100:1"},
        {"gpus_per_task": 1, "ntasks": 1},
        {"tres_per_task": "gres/gpu=1", "ntasks_per_node": 1},
    ],
)
def test_one_gpu_of_eight_takes_its_share_however_it_is_asked_for(asks: dict[str, Any]) -> None:
    spec = resolved(job(profile="Standard_ND96isr_H100_v5", **asks)).spec
    assert (spec.ntasks_per_node, spec.cpus_per_task, spec.mem_gib) == (1, 12, 225.0)
    named = {key: getattr(spec, key) for key in ("gpus_per_node", "gpus", "gres", "gpus_per_task")}
    assert sum(value is not None for value in named.values()) == ("tres_per_task" not in asks)


@pytest.mark.parametrize("asks", [{}, {"gpus": 16}, {"gres": "gpu:8"}, {"gpus_per_task": 1}])
def test_all_gpus_of_two_nodes_take_them_whole(asks: dict[str, Any]) -> None:
    done = resolved(job(profile="Standard_ND96isr_H100_v5", nodes=2, **asks))
    assert (done.spec.ntasks_per_node, done.spec.cpus_per_task, done.spec.mem_gib) == (8, 12, 0.0)
    assert done.cpu_bind is not None


def test_what_is_counted_per_gpu_a_profile_does_not_count_too() -> None:
    by_cpus = resolved(job(profile="Standard_ND96isr_H100_v5", cpus_per_gpu=4, gpus=8))
    assert (by_cpus.spec.cpus_per_task, by_cpus.spec.ntasks_per_node) == (None, 8)
    by_tasks = resolved(job(profile="Standard_ND96isr_H100_v5", ntasks_per_gpu=2, gpus=4, samples=False))
    assert (by_tasks.spec.ntasks_per_node, by_tasks.spec.gpus_per_node) == (None, None)
    text = render_job(by_tasks, HOME / "run")
    assert "--ntasks=8 \\\n" in text and "ntasks-per-node" not in text
