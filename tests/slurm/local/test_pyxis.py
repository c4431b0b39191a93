"""The stand-in for Pyxis: what it takes, refuses and passes over, as Pyxis does, and tasks inside images."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.slurm.local import cluster as embedded
from hpcai.specs.site import cache_dir
from tests.container_cluster import RC, Containers

pytestmark = pytest.mark.real

IMAGE = "--container-image=x"


def lines(text: str) -> list[str]:
    """What Pyxis says, without what Slurm puts before it."""
    return [
        re.sub(r"^(srun|slurmstepd-\w+|sbatch|salloc): (error: )?", "", line) for line in text.splitlines()
    ]


# ---- before the queue


@pytest.mark.parametrize(
    ("version", "count"), [("0.19", 14), ("0.20", 15), ("0.21", 15), ("0.22", 15), ("0.24", 16)]
)
@pytest.mark.parametrize("program", ["srun", "sbatch", "salloc"])
def test_every_program_has_the_options_of_its_version(
    containers: Containers, program: str, version: str, count: int
) -> None:
    with containers.playing(version):
        assert containers.run(program, "--help", in_job=False).stdout.count("[pyxis]") == count


def test_a_site_may_leave_sbatch_and_salloc_out(containers: Containers) -> None:
    with containers.playing("0.21", sbatch_support="0"):
        counts = [
            containers.run(program, "--help", in_job=False).stdout.count("[pyxis]")
            for program in ("srun", "sbatch", "salloc")
        ]
        assert counts == [15, 0, 0]
        done = containers.run("sbatch", IMAGE, "--wrap=true", in_job=False)
    assert "unrecognized option '--container-image=x'" in done.stderr


REFUSED = [
    (["--container-image="], "--container-image: argument required", ""),
    ([IMAGE, "--container-image=y"], "--container-image specified multiple times", "y"),
    (["--container-mounts="], "--container-mounts: argument required", ""),
    (["--container-mounts=:"], "--container-mounts: invalid format: :", ":"),
    (["--container-mounts=/tmp:"], "--container-mounts: invalid format: /tmp:", "/tmp:"),
    (["--container-mounts=/a,"], "--container-mounts: invalid format: ", "/a,"),
    (["--container-mounts=data:/a"], "could not add mount entry: data:/a", "data:/a"),
    (["--container-mounts=~:/a"], "could not add mount entry: ~:/a", "~:/a"),
    (["--container-mounts=/a:b"], "could not add mount entry: /a:b", "/a:b"),
    (["--container-mounts=/a:/b:ro,rw"], "could not add mount entry: rw:rw", "/a:/b:ro,rw"),
    (["--container-workdir="], "--container-workdir: argument required", ""),
    (
        ["--container-workdir=/a", "--container-workdir=/b"],
        "--container-workdir specified multiple times",
        "/b",
    ),
    (["--container-name=:create"], "--container-name: empty name", ":create"),
    (
        ["--container-name=a:attach"],
        '--container-name: flag must be "auto", "create", "exec" or "no_exec"',
        "a:attach",
    ),
    (["--container-save="], "--container-save: argument required", ""),
    (["--container-save=/a/"], "--container-save: target is a directory", "/a/"),
    (["--container-env=A,"], "--container-env: invalid format: A,", "A,"),
    (["--container-env="], "--container-env: argument required", ""),
]


@pytest.mark.parametrize(("options", "message", "value"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_argument_is_refused_before_the_queue(
    containers: Containers, options: list[str], message: str, value: str
) -> None:
    done = containers.run("srun", *options, "true", in_job=False)
    assert done.returncode == 255
    flag = options[-1].partition("=")[0]
    told = lines(done.stderr)
    assert told[-2:] == [f"pyxis: {message}", f"Invalid {flag} argument: {value}"]


@pytest.mark.parametrize("name", ["mount-home", "remap-root", "entrypoint"])
def test_a_switch_may_not_be_on_and_off(containers: Containers, name: str) -> None:
    both = [f"--container-{name}", f"--no-container-{name}"]
    done = containers.run("srun", IMAGE, *both, "true", in_job=False)
    assert done.returncode == 255
    told = lines(done.stderr)
    assert told[0] == f"pyxis: both --container-{name} and --no-container-{name} were specified"
    assert told[1] == f"Invalid --no-container-{name} argument: (null)"


def test_a_container_is_writable_or_read_only(containers: Containers) -> None:
    done = containers.run("srun", IMAGE, "--container-writable", "--container-readonly", "true", in_job=False)
    assert done.returncode == 255
    assert lines(done.stderr)[0] == "pyxis: both --container-writable and --container-readonly were specified"


@pytest.mark.parametrize(
    ("value", "message"), [("net,", "empty namespace argument"), ("pid", "unknown namespace 'pid'")]
)
def test_unshare_is_checked_where_it_exists(containers: Containers, value: str, message: str) -> None:
    with containers.playing("0.24"):
        done = containers.run("srun", IMAGE, f"--container-unshare={value}", "true", in_job=False)
    assert done.returncode == 255
    assert lines(done.stderr)[0] == f"pyxis: --container-unshare: {message}"
    done = containers.run("srun", IMAGE, f"--container-unshare={value}", "true", in_job=False)
    assert "unrecognized option '--container-unshare" in done.stderr


def test_saving_to_a_folder_is_refused_from_0_21_on(containers: Containers) -> None:
    with containers.playing("0.20"):
        done = containers.run("srun", "--container-save=/nope/", "bash", "-c", "echo ran")
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_sbatch_checks_what_an_sbatch_line_says_without_queueing(
    containers: Containers, tmp_path: Path
) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/bash\n#SBATCH --container-mounts=data:/a\ntrue\n")
    done = containers.run("sbatch", "--test-only", script, in_job=False)
    assert done.returncode == 255
    assert "pyxis: could not add mount entry: data:/a" in lines(done.stderr)
    script.write_text("#!/bin/bash\n#SBATCH --container-image=a\ntrue\n")
    done = containers.run("sbatch", "--test-only", "--container-image=b", script, in_job=False)
    assert done.returncode == 255, "the command line does not override an #SBATCH line"
    assert "pyxis: --container-image specified multiple times" in lines(done.stderr)


def test_an_unquoted_number_sign_ends_an_sbatch_line(containers: Containers, tmp_path: Path) -> None:
    """The image's name is what tells: `reg` is taken, and clashes with the whole name."""
    script = tmp_path / "job.sh"
    whole = "--container-image=reg#ml/demo:1.0"
    said = {}
    for written in ("reg#ml/demo:1.0", r"reg\#ml/demo:1.0", '"reg#ml/demo:1.0"'):
        script.write_text(f"#!/bin/bash\n#SBATCH --container-image={written}\ntrue\n")
        said[written] = containers.run("sbatch", "--test-only", whole, script, in_job=False).returncode
    assert said == {"reg#ml/demo:1.0": 255, r"reg\#ml/demo:1.0": 0, '"reg#ml/demo:1.0"': 0}


# ---- silences


def test_without_an_image_all_else_is_passed_over_and_the_step_runs_on_the_host(
    containers: Containers,
) -> None:
    options = ["--container-mounts=/a:/b:rubbish", "--container-workdir=/nope", "--container-readonly"]
    done = containers.run("srun", *options, "bash", "-c", "echo $PWD")
    assert (done.returncode, done.stdout) == (0, f"{containers.folder}\n")
    assert [line for line in lines(done.stderr) if "ignoring" in line][:3] == [
        f"pyxis: ignoring {flag} because neither --container-image nor --container-name is set"
        for flag in ("--container-mounts", "--container-workdir", "--container-readonly")
    ]


def test_variables_stand_for_flags_from_0_21_on_and_bad_ones_are_passed_over(containers: Containers) -> None:
    environ = {"PYXIS_CONTAINER_IMAGE": str(containers.image), "PYXIS_CONTAINER_READONLY": "maybe"}
    say = ["bash", "-c", "echo ${FROM_IMAGE-host}"]
    assert containers.printed(*say, environ=environ) == "image\n"
    with containers.playing("0.20"):
        assert containers.printed(*say, environ=environ) == "host\n"


def test_misspelt_flags_of_a_mount_are_passed_over(containers: Containers) -> None:
    for flags in ("bogus", "ro:rw"):
        mount = f"--container-mounts={containers.folder}:/x:{flags}"
        assert (
            containers.printed(f"--container-image={containers.image}", mount, "bash", "-c", "echo in")
            == "in\n"
        )


def test_a_name_keeps_what_was_written_and_does_not_look_at_the_image_again(containers: Containers) -> None:
    name = "--container-name=kept"
    containers.printed(name, f"--container-image={containers.squashfs}", "bash", "-c", "echo old > /kept")
    again = containers.printed(name, "--container-image=/nope.sqsh", "bash", "-c", "cat /kept")
    assert again == "old\n"
    done = containers.run("srun", "-w", "n2", name, "true")
    assert done.returncode == 1
    what = 'a container with name "pyxis_kept" does not exist, and --container-image is not set'
    assert f"pyxis: error: {what}" in lines(done.stderr)


def test_a_file_that_cannot_be_saved_is_no_failure_of_the_step(containers: Containers) -> None:
    image = f"--container-image={containers.image}"
    done = containers.run("srun", image, "--container-save=/proc/no/x.sqsh", "bash", "-c", "true")
    assert done.returncode == 0
    assert any("pyxis: failed to export container pyxis_" in line for line in lines(done.stderr))


# ---- inside


@pytest.mark.parametrize("kind", ["folder", "squashfs", "relative"])
def test_a_task_sees_the_image_and_nothing_of_the_host(containers: Containers, kind: str) -> None:
    image = {"folder": containers.image, "squashfs": containers.squashfs, "relative": "./image.sqsh"}[kind]
    told = containers.printed(
        f"--container-image={image}",
        "--no-container-mount-home",
        "bash",
        "-c",
        "ls /; ls -d /usr/share /opt 2>&1; id -u",
    )
    assert {"bin", "dev", "etc", "proc", "sys", "tmp", "work"} <= set(told.split())
    assert told.count("No such file") == 2
    assert told.endswith(f"\n{os.getuid()}\n")


def test_every_task_of_a_node_shares_one_user_namespace(containers: Containers) -> None:
    say = 'echo "$SLURMD_NODENAME $(readlink /proc/self/ns/user) $(readlink /proc/self/ns/mnt)"'
    words = [
        "-N2",
        "-n4",
        "--ntasks-per-node=2",
        f"--container-image={containers.squashfs}",
        "bash",
        "-c",
        say,
    ]
    told = sorted(containers.printed(*words).splitlines())
    assert len(told) == 4
    assert len(set(told)) == 2
    assert [line.split()[0] for line in told] == ["n1", "n1", "n2", "n2"]


def test_exit_codes_and_signals_come_through(containers: Containers) -> None:
    image = f"--container-image={containers.image}"
    assert containers.run("srun", image, "bash", "-c", "exit 7").returncode == 7
    done = containers.run("srun", image, "bash", "-c", "kill -USR1 $$")
    assert done.returncode == 138
    assert "User defined signal 1" in done.stderr


def test_a_signal_to_a_step_reaches_the_task_inside(containers: Containers) -> None:
    say = "trap 'echo heard; exit 5' USR1; echo $SLURM_STEP_ID; while :; do sleep 0.05; done"
    argv = ["srun", f"--jobid={containers.job}", "--overlap", "-n1", "-N1", "--unbuffered"]
    argv += [f"--container-image={containers.image}", "bash", "-c", say]
    with subprocess.Popen(argv, env=containers.environ, stdout=subprocess.PIPE, text=True) as task:
        assert task.stdout is not None
        step = f"{containers.job}.{task.stdout.readline().strip()}"
        containers.run("scancel", "-s", "USR1", step, in_job=False)
        assert task.stdout.readline() == "heard\n"
        assert task.wait(20) == 5


def test_what_is_in_the_root(containers: Containers) -> None:
    """A fresh /tmp, the image's folder to start in, a new home, only one user of the machine."""
    image = f"--container-image={containers.image}"
    say = 'echo "$PWD"; stat -c %a /tmp; ls /tmp; ls -A "$HOME"; id -un; touch /new && echo written'
    environ = {"HOME": "/home/somebody"}
    told = containers.printed(image, "--no-container-mount-home", "bash", "-c", say, environ=environ).split()
    assert told == ["/work", "755", pwd.getpwuid(os.getuid()).pw_name, "written"]
    read_only = containers.run("srun", image, "--container-readonly", "bash", "-c", "touch /new")
    assert read_only.returncode == 1
    assert "Read-only file system" in read_only.stderr
    assert not (containers.image / "new").exists()


def test_one_may_seem_to_be_root(containers: Containers) -> None:
    image = f"--container-image={containers.image}"
    say = ["bash", "-c", 'echo "$(id -u) $HOME"']
    assert (
        containers.printed(image, "--container-remap-root", "--no-container-mount-home", *say) == "0 /root\n"
    )


def test_three_settings_of_enroot_may_come_with_the_job_and_no_other(containers: Containers) -> None:
    image = f"--container-image={containers.image}"
    environ = {"ENROOT_REMAP_ROOT": "y", "ENROOT_MOUNT_HOME": "n", "ENROOT_ROOTFS_WRITABLE": "n"}
    say = ["bash", "-c", 'echo "$HOME"; touch /new 2>/dev/null || echo read-only']
    environ["ENROOT_DATA_PATH"] = "/nope"
    assert containers.printed(image, *say, environ=environ) == "/root\nread-only\n"
    assert containers.printed(image, "--container-writable", *say, environ=environ) == "/root\n"


def test_the_profile_of_the_image_is_run(containers: Containers) -> None:
    say = ["bash", "-c", "echo $FROM_PROFILE"]
    assert containers.printed(f"--container-image={containers.image}", *say) == "yes\n"


def test_a_job_that_passes_no_variables_on_still_has_a_home(containers: Containers) -> None:
    say = ["bash", "-c", 'echo "${HOME:+home} ${SLURM_JOB_ID:+job} ${ONLY_JOB-none}"']
    image = f"--container-image={containers.image}"
    told = containers.printed("--export=NONE", image, *say, environ={"ONLY_JOB": "job"})
    assert told == "home job none\n"


def test_an_image_for_salloc_is_one_for_every_step(containers: Containers) -> None:
    image = f"--container-image={containers.image}"
    words = ["salloc", "-N1", "-n1", image, "srun", "bash", "-c", "echo ${FROM_IMAGE-host}"]
    done = containers.run(*words, in_job=False)
    assert (done.returncode, done.stdout) == (0, "image\n"), done.stderr


def test_the_home_is_there_if_it_is_asked_for(containers: Containers, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    image, environ = f"--container-image={containers.image}", {"HOME": str(tmp_path)}
    say = ["bash", "-c", 'ls "$HOME"']
    assert containers.printed(image, "--container-mount-home", *say, environ=environ) == "mine\n"
    assert containers.printed(image, "--no-container-mount-home", *say, environ=environ) == ""


def test_the_image_wins_over_the_job_but_for_container_env(containers: Containers) -> None:
    environ = {"SHARED_VAR": "job", "ONLY_JOB": "job", "LANG": "de_DE.UTF-8", "LD_LIBRARY_PATH": "/nope"}
    image = f"--container-image={containers.image}"
    say = ["bash", "-c", 'echo "$SHARED_VAR $ONLY_JOB $FROM_IMAGE ${LANG-none}"']
    assert containers.printed(image, *say, environ=environ) == "image job image none\n"
    flipped = containers.printed(image, "--container-env=SHARED_VAR,LANG", *say, environ=environ)
    assert flipped == "job job image de_DE.UTF-8\n"


def test_the_entrypoint_runs_only_if_asked_and_is_heard_only_if_asked(containers: Containers) -> None:
    image = f"--container-image={containers.image}"
    say = ["bash", "-c", 'echo "${FROM_ENTRYPOINT-no}"']
    assert containers.printed(image, *say) == "no\n"
    done = containers.run("srun", image, "--container-entrypoint", *say)
    assert (done.stdout, "the entrypoint speaks" in done.stderr) == ("yes\n", False)
    done = containers.run("srun", image, "--container-entrypoint", "--container-entrypoint-log", *say)
    assert (done.stdout, "the entrypoint speaks" in done.stderr) == ("yes\n", True)


def test_mounts_of_every_kind(containers: Containers, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    mounts = [
        f"{tmp_path}:/data:ro",
        f"{tmp_path}:/deep/er/folder",
        f"{tmp_path}/file:/etc/one-file",
        "tmpfs:/scratch:size=1M",
        "umount:/var/lock",
        "./:/here:ro+nosuid",
    ]
    say = """
    cat /data/file /etc/one-file; touch /data/x 2>/dev/null || echo " ro"
    touch /deep/er/folder/new && echo rw; ls /here
    head -c 2000000 /dev/zero > /scratch/big 2>/dev/null || echo full
    mount | { while read -r line; do case $line in *" /var/lock "*) echo still; esac; done; }
    """
    told = containers.printed(
        f"--container-image={containers.image}", f"--container-mounts={','.join(mounts)}", "bash", "-c", say
    )
    assert told.split() == ["texttext", "ro", "rw", "image", "image.sqsh", "full"]
    assert (tmp_path / "new").exists()


def test_links_in_an_image_lead_nowhere_outside_it(containers: Containers, tmp_path: Path) -> None:
    outside, image = tmp_path / "outside", tmp_path / "image"
    outside.mkdir()
    shutil.copytree(containers.image, image, symlinks=True)
    (image / "etc/resolv.conf").symlink_to(outside / "resolv.conf")
    (image / "mnt").symlink_to(outside)
    (outside / "secret").touch()
    mounts = f"--container-mounts={containers.folder}:/mnt/deep,{tmp_path}/image/etc/rc:/etc/resolv.conf"
    say = "ls /mnt/deep; ls /mnt; head -n 1 /etc/resolv.conf"
    told = containers.printed(f"--container-image={image}", mounts, "bash", "-c", say)
    assert told.split("\n")[:3] == ["image", "image.sqsh", "deep"]
    assert "secret" not in told
    assert told.endswith(RC.splitlines()[0] + "\n")
    assert [file.name for file in outside.iterdir()] == ["secret"]


def test_paths_with_spaces_need_0_24(containers: Containers, tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "file").touch()
    words = [f"--container-image={containers.image}", f"--container-mounts={folder}", "ls", str(folder)]
    assert containers.run("srun", *words).returncode == 1
    with containers.playing("0.24"):
        assert containers.printed(*words) == "file\n"


def test_namespaces_of_its_own(containers: Containers) -> None:
    say = "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts"
    image = f"--container-image={containers.image}"
    with containers.playing("0.24"):
        host = containers.printed(image, "bash", "-c", say).split()
        own = containers.printed(image, "--container-unshare=net,ipc,uts", "bash", "-c", say).split()
    assert len(set(host) & set(own)) == 0


def test_what_is_saved_can_be_started(containers: Containers, tmp_path: Path) -> None:
    image = f"--container-image={containers.squashfs}"
    saved = tmp_path / "saved.sqsh"
    done = containers.run("srun", image, f"--container-save={saved}", "bash", "-c", "echo kept > /new")
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("pyxis: exported container pyxis_") for line in lines(done.stderr))
    assert containers.printed(f"--container-image={saved}", "cat", "/new") == "kept\n"


def test_only_the_batch_script_of_an_sbatch_line_is_inside(containers: Containers, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    image = containers.image
    script.write_text(
        f'#!/bin/bash\n#SBATCH --container-image="{image}" -o {tmp_path}/out\n'
        "echo $FROM_IMAGE; srun true; echo $?\n"
    )
    assert containers.run("sbatch", "--wait", script, in_job=False).returncode == 0
    assert (tmp_path / "out").read_text().split("\n")[0] == "image"
    assert "srun: command not found" in (tmp_path / "out").read_text()
    assert (tmp_path / "out").read_text().endswith("127\n")


def test_pytorchs_variables_come_with_an_image_of_pytorch(containers: Containers, tmp_path: Path) -> None:
    say = ["bash", "-c", 'echo "${RANK-no} ${LOCAL_RANK-no} ${WORLD_SIZE-no} ${MASTER_PORT-no}"']
    image = f"--container-image={containers.image}"
    assert containers.printed(image, *say) == "no no no no\n"
    environ = {"PYTORCH_VERSION": "2.5"}
    told = containers.printed("-n2", image, *say, environ=environ).splitlines()
    port = 61000 + int(containers.job) % 4536
    assert sorted(told) == [f"0 0 2 {port}", f"1 1 2 {port}"]


# ---- failures on the node

FAILING = [
    (["--container-image=/nope.sqsh"], "[ERROR] No such file or directory: /nope.sqsh"),
    (["--container-image=/etc/passwd"], "[ERROR] Invalid image format: /etc/passwd"),
    (["--container-image=x.sqsh"], "curl: (6) Could not resolve host: registry-1.docker.io"),
    (["--container-image=unknown.example/ml/demo"], "curl: (6) Could not resolve host: unknown.example"),
    (
        ["--container-image=reg.example#ml/Demo"],
        "[ERROR] Invalid image reference: docker://reg.example#ml/Demo",
    ),
    (
        ["--container-image={image}", "--container-workdir=/nope"],
        "couldn't chdir to /nope: No such file or directory",
    ),
    (["--container-image={image}", "--container-name=a/b"], "[ERROR] Invalid argument: pyxis_a/b"),
    (
        ["--container-image={image}", "--container-name=x:exec"],
        'error: "exec" flag was passed to --container-name but the container is not running',
    ),
    (["--container-image={image}", "--container-mounts=/nope"], "failed to mount: /nope at"),
    (["--container-image={image}", "--container-mounts=/tmp:/bin/bash"], "Not a directory"),
]


@pytest.mark.parametrize(("options", "line"), FAILING, ids=lambda value: str(value)[-40:])
def test_a_failure_on_the_node_is_told_in_the_words_of_pyxis(
    containers: Containers, options: list[str], line: str
) -> None:
    done = containers.run("srun", *(option.format(image=containers.image) for option in options), "true")
    assert done.returncode == 1
    assert any(told.startswith("pyxis:") and line in told for told in lines(done.stderr)), done.stderr
    assert "task_init() failed with rc=-1" in done.stderr


def test_enroot_before_4_0_takes_a_registry_for_a_part_of_docker_hub(containers: Containers) -> None:
    with containers.playing("0.20", enroot_version="3.5"):
        hub = containers.run("srun", "--container-image=unknown.example/ml/demo", "true")
        sign = containers.run("srun", "--container-image=unknown.example#ml/demo", "true")
    assert "Could not resolve host: registry-1.docker.io" in hub.stderr
    assert "Could not resolve host: unknown.example" in sign.stderr


def test_a_tag_that_a_registry_does_not_have(containers: Containers) -> None:
    (containers.home / "registry/known.example").mkdir(exist_ok=True)
    done = containers.run("srun", "--container-image=known.example#ml/demo:2", "true")
    url = "https://known.example/v2/ml/demo/manifests/2"
    assert f"pyxis:     [ERROR] URL {url} returned error code: 404 Not Found" in lines(done.stderr)


def test_a_mount_without_a_source_is_told_plainly_from_0_24_on(containers: Containers) -> None:
    with containers.playing("0.24"):
        done = containers.run(
            "srun", f"--container-image={containers.image}", "--container-mounts=/nope:/a", "true"
        )
    assert done.returncode == 1
    assert "pyxis: --container-mounts: source path does not exist: /nope" in lines(done.stderr)


def test_a_name_may_be_asked_to_be_new_or_to_be_running(containers: Containers) -> None:
    image = f"--container-image={containers.image}"
    containers.printed(image, "--container-name=new:create", "bash", "-c", "true")
    done = containers.run("srun", image, "--container-name=new:create", "true")
    assert done.returncode == 1
    what = '"create" flag was passed to --container-name but the container already exists'
    assert f"pyxis: error: {what}" in lines(done.stderr)
    argv = [
        "srun",
        f"--jobid={containers.job}",
        "--overlap",
        "-n1",
        "-N1",
        "-w",
        "n1",
        "--container-name=new",
    ]
    hold = "echo ready; mkdir /tmp/theirs; while [ ! -e /tmp/end ]; do sleep 0.05; done"
    with subprocess.Popen(
        [*argv, "bash", "-c", hold], env=containers.environ, stdout=subprocess.PIPE, text=True
    ) as holding:
        assert holding.stdout is not None
        assert holding.stdout.readline() == "ready\n"
        joined = containers.run(
            *argv[:1], *argv[2:], "--container-mounts=/nope", "bash", "-c", "ls /tmp; touch /tmp/end"
        )
        assert holding.wait(20) == 0
    assert (joined.returncode, joined.stdout) == (0, "theirs\n")
    assert "pyxis: ignoring --container-mounts when attaching to a running container" in joined.stderr


def test_a_task_that_fails_to_enter_takes_the_others_with_it(containers: Containers) -> None:
    done = containers.run("srun", "-n3", "--container-image=/nope.sqsh", "true")
    assert done.returncode == 1
    assert done.stderr.count("[ERROR] No such file or directory: /nope.sqsh") == 1
    assert done.stderr.count("pyxis: container was not started successfully by another task") == 2


def test_an_image_without_a_shell_cannot_be_started(containers: Containers, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = containers.run("srun", f"--container-image={tmp_path}/empty", "true")
    assert done.returncode == 1
    assert "failed to execute: /bin/bash" in done.stderr


def test_what_a_lost_node_left_under_the_same_number_is_not_used_again(containers: Containers) -> None:
    image = f"--container-image={containers.image}"
    step = int(containers.printed(image, "bash", "-c", "echo $SLURM_STEP_ID"))
    left = containers.home / "containers/n1" / f"pyxis_{containers.job}.{step + 1}"
    for name in ("upper", "work", "root"):
        (left / name).mkdir(parents=True)
    (left / "lower").symlink_to(containers.image)
    (left / "upper/stale").touch()
    told = containers.printed(image, "bash", "-c", "echo $SLURM_STEP_ID; ls /")
    assert told.split()[0] == str(step + 1)
    assert "stale" not in told
    assert not left.exists()


def test_nothing_is_left_of_a_container_without_a_name(containers: Containers) -> None:
    containers.printed(f"--container-image={containers.image}", "bash", "-c", "true")
    left = [folder.name for folder in (containers.home / "containers").glob("*/pyxis_*.*")]
    assert left == []


# ---- as an ordinary user

ORDINARY = """
set -e
hpcai() { "$python" -m hpcai local "$@"; }
python=$1
hpcai up --name "$2" --nodes 1 --containers 2>/dev/null
trap 'hpcai down --name "$2" --purge 2>/dev/null' EXIT
run() {
  hpcai exec --name "$2" -- srun --container-image="$3" "$4" bash -c 'id -u; id -un; touch /new; ls /new'
}
run "$1" "$2" "$3" --container-name=kept
run "$1" "$2" "$3" --container-remap-root
"""


def test_an_ordinary_user_can_do_all_of_it_and_leaves_nothing(containers: Containers) -> None:
    """Here one without any right beyond those of a user, by a number that has a name on every machine."""
    name = f"{containers.name}-u"
    user = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "bash", "-c", ORDINARY, "user"]
    environ = {**os.environ, "HOME": str(containers.folder)}
    environ["XDG_CACHE_HOME"] = str(cache_dir().parent)
    words = [*user, sys.executable, name, str(containers.squashfs)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["65534", "nobody", "/new", "0", "root", "/new"]
    assert not containers.home.with_name(name).exists()


# ---- where namespaces are refused

NO_MORE = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
COUNTED = ("unshare", "--user", "--map-root-user", "sh", "-c", NO_MORE, "up")
FILTERED = (sys.executable, str(Path(__file__).parents[2] / "without_namespaces.py"))


def up_where_namespaces_are_refused(
    how: tuple[str, ...], name: str, *options: str
) -> subprocess.CompletedProcess[str]:
    ours = [sys.executable, "-m", "hpcai", "local", "up", "--name", name, "--nodes", "1", *options]
    return subprocess.run([*how, *ours], capture_output=True, text=True, check=False, timeout=90)


@pytest.mark.parametrize(
    ("how", "refused", "remedy"),
    [
        (
            COUNTED,
            "which user.max_user_namespaces=0 refuses",
            "sudo sysctl -w user.max_user_namespaces=10000",
        ),
        (FILTERED, "and this machine refuses them", "--security-opt seccomp=unconfined lifts it."),
    ],
    ids=["count", "seccomp"],
)
def test_a_machine_that_refuses_namespaces_is_told_what_would_allow_them(
    containers: Containers, how: tuple[str, ...], refused: str, remedy: str
) -> None:
    done = up_where_namespaces_are_refused(how, f"{containers.name}-r", "--containers")
    assert done.returncode == 4
    assert done.stderr.startswith(f"hpcai: Containers need user namespaces, {refused}: unshare")
    assert done.stderr.endswith(f"{remedy}\n")
    assert f"{containers.name}-r" not in embedded.known()


def test_a_node_that_refuses_namespaces_says_what_would_allow_them(containers: Containers) -> None:
    name = f"{containers.name}-r"
    try:
        assert up_where_namespaces_are_refused(FILTERED, name).returncode == 0
        conf = (containers.home / "plugstack.conf").read_text()
        (containers.home.with_name(name) / "plugstack.conf").write_text(conf)
        environ = {**os.environ, **embedded.environment(name)}
        argv = ["srun", f"--container-image={containers.image}", "true"]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=60)
    finally:
        embedded.down(name, purge=True)
    assert done.returncode == 1
    told = next(line for line in lines(done.stderr) if "enroot-nsenter" in line)
    assert told.startswith(
        "pyxis:     enroot-nsenter: failed to create user namespace: Operation not permitted ("
    )
    assert "--security-opt seccomp=unconfined" in told
