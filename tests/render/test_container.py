from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hpcai.errors import RenderError
from hpcai.render.container import (
    image_reference,
    pyxis_words,
    refuse_what_enroot_lacks,
    refuse_what_pyxis_lacks,
    saved_file,
    shared_image,
)
from hpcai.specs.container import ContainerSpec

DIGEST = "sha256:" + "0123456789abcdef" * 4


def spec(**fields: Any) -> ContainerSpec:
    return ContainerSpec(**({"image": "a"} | fields))


def words(container: ContainerSpec, *, imported: bool = False, steps: int = 1) -> list[str]:
    return pyxis_words(
        container,
        workdir="/w",
        mounts=["/r:/r"],
        env_names=["NCCL_DEBUG"],
        steps_in_container=steps,
        imported=imported,
    )


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("docker.io/library/ubuntu:22.04", "library/ubuntu:22.04"),
        ("docker://docker.io#ubuntu:22.04", "docker://library/ubuntu:22.04"),
        ("me@index.docker.io/mine/demo:1", "me@mine/demo:1"),
        ("ubuntu:22.04", "ubuntu:22.04"),
        ("library/ubuntu", "library/ubuntu"),
        ("nvcr.io/nvidia/pytorch:25.01-py3", "nvcr.io#nvidia/pytorch:25.01-py3"),
        ("nvcr.io#nvidia/pytorch:25.01-py3", "nvcr.io#nvidia/pytorch:25.01-py3"),
        ("$oauthtoken@nvcr.io#nvidia/pytorch:25.01-py3", "$oauthtoken@nvcr.io#nvidia/pytorch:25.01-py3"),
        ("localhost:5000/a", "localhost:5000#a"),
        ("docker://reg.example/a/b:1", "docker://reg.example#a/b:1"),
        ("dockerd://ubuntu", "dockerd://ubuntu"),
        ("/shared/image.sqsh", "/shared/image.sqsh"),
        ("./image.sqsh", "/w/image.sqsh"),
        ("../image.sqsh", "/image.sqsh"),
        ("image.sqsh", "/w/image.sqsh"),
        ("images.d/image.squashfs", "/w/images.d/image.squashfs"),
    ],
)
def test_an_image_is_named_so_that_every_enroot_reads_it_alike(image: str, reference: str) -> None:
    assert ContainerSpec(image=image).image == image
    assert image_reference(image, "/w") == reference


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nvcr.io/NVIDIA/pytorch:25.01-py3", "no capitals: 'nvidia/pytorch'"),
        ("Ubuntu", "no capitals: 'ubuntu'"),
        ("reg.Example#ml/Demo", "no capitals: 'ml/demo'"),
        ("oras://reg.example/a", "only docker:// and dockerd://"),
        ("a b", "REGISTRY#IMAGE:TAG"),
        ("a#b#c", "REGISTRY#IMAGE:TAG"),
        ("", "REGISTRY#IMAGE:TAG"),
        ("reg.example#", "REGISTRY#IMAGE:TAG"),
    ],
)
def test_an_image_that_no_registry_can_have_is_refused(image: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        ContainerSpec(image=image)


@pytest.mark.parametrize(
    "image", ["reg.example#ml/demo:V1", "Reg.Example/ml/demo", "/Shared/Image.sqsh", "User@reg.io#a"]
)
def test_capitals_may_stand_where_registries_have_them(image: str) -> None:
    assert ContainerSpec(image=image).image == image


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("data:/a", "paths start with / or ."),
        ("~ada/data:/a", "no shell reads it"),
        ("/a:", "the target '' must start with / or ."),
        ("/a:b", "the target 'b' must start with / or ."),
        ("/a,/b", "hold no comma"),
        ("/a:/b:ro:rw", "'SOURCE[:TARGET[:FLAGS]]'"),
        ("/a:/b:bogus", "flags are bind,"),
        ("/a:/b:ro+rw", "a mount is ro or rw"),
        ("/a:/b:size=1G", "flags are bind,"),
        ("tmpfs", "tmpfs needs a target"),
        ("umount", "umount needs a target"),
    ],
)
def test_a_mount_that_pyxis_refuses_or_misreads_is_refused(mount: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        spec(mounts=[mount])


@pytest.mark.parametrize(
    "mount", ["/a", "./a", "/a:/b:ro+rprivate", "tmpfs:/scratch:size=10G", "umount:/x", "/a:/b:x-create=dir"]
)
def test_mounts_that_pyxis_takes(mount: str) -> None:
    assert spec(mounts=[mount]).mounts == (mount,)


FLAGS = [
    ({}, "--container-image=a"),
    ({"image": "reg.io/A:1".lower()}, "--container-image='reg.io#a:1'"),
    ({}, "--container-workdir=/w"),
    ({"workdir": "/in side"}, "--container-workdir='/in side'"),
    ({"name": "mine"}, '--container-name="mine-$SLURM_JOB_ID"'),
    ({}, "--no-container-mount-home"),
    ({"mount_home": True}, "--container-mount-home"),
    ({"remap_root": True}, "--container-remap-root"),
    ({"remap_root": False}, "--no-container-remap-root"),
    ({"entrypoint": True}, "--container-entrypoint"),
    ({"entrypoint": False}, "--no-container-entrypoint"),
    ({"entrypoint_log": True}, "--container-entrypoint-log"),
    ({"writable": True}, "--container-writable"),
    ({"writable": False}, "--container-readonly"),
    ({}, "--container-env='NCCL_DEBUG'"),
    ({"env": ["A", "NCCL_DEBUG"]}, "--container-env='NCCL_DEBUG,A'"),
    ({"unshare": ["net", "ipc", "net"]}, "--container-unshare=net,ipc"),
    (
        {"mounts": ["/a:/b:ro", "./c", "../d:/e", "tmpfs:/f"]},
        '--container-mounts="$hpcai_scratch_mount:$hpcai_scratch_mount,"'
        "'/r:/r,/a:/b:ro,/w/c:./c,/d:/e,tmpfs:/f'",
    ),
]


@pytest.mark.parametrize(("fields", "word"), FLAGS, ids=lambda value: str(value)[:50])
def test_every_field_becomes_its_flag(fields: dict[str, Any], word: str) -> None:
    assert word in words(spec(**fields))


def test_no_field_is_left_out_of_the_flags() -> None:
    tried = {key for fields, _ in FLAGS for key in fields} | {"save", "login"}
    assert tried == set(ContainerSpec.model_fields)


def test_what_nobody_asked_for_is_left_to_the_site() -> None:
    said = " ".join(words(spec()))
    for flag in ("name", "remap-root", "entrypoint", "writable", "readonly", "unshare", "save"):
        assert f"container-{flag}" not in said


def test_two_steps_of_a_job_share_a_container_that_is_the_jobs_own() -> None:
    assert '--container-name="hpcai-$SLURM_JOB_ID"' in words(spec(), steps=2)


@pytest.mark.parametrize(
    ("fields", "mounts", "version", "said"),
    [
        ({"unshare": ["net"]}, [], "0.23", "container.unshare needs Pyxis 0.24"),
        ({"entrypoint_log": True}, [], "0.19.1", "container.entrypoint_log needs Pyxis 0.20"),
        ({"mounts": ["/a b"]}, [], "0.21", "The mount '/a b' holds a space: that needs Pyxis 0.24"),
        ({}, ["/a b:/a b"], "0.21", "The folder '/a b', which the container is to see, holds a space"),
        ({"mounts": ["/a$HOME"]}, [], "0.24", "a shell on the node would read '$'"),
        ({}, ['/a"b:/a"b'], "0.24", "a shell on the node would read"),
    ],
)
def test_what_a_version_of_pyxis_does_not_have_is_refused(
    fields: dict[str, Any], mounts: list[str], version: str, said: str
) -> None:
    with pytest.raises(RenderError, match=re.escape(said)):
        refuse_what_pyxis_lacks(spec(**fields), mounts, version)


@pytest.mark.parametrize(("folder", "version"), [("/shared/my code", "0.21"), ('/shared/its "code"', "0.24")])
def test_a_work_folder_that_no_container_can_be_shown_is_refused_as_the_work_folder(
    folder: str, version: str
) -> None:
    with pytest.raises(RenderError, match="Give the folder a") as caught:
        refuse_what_pyxis_lacks(spec(), ["/runs/a:/runs/a", f"{folder}:{folder}"], version, folder)
    assert caught.value.key == "workdir"
    assert repr(folder) in caught.value.what


def test_what_a_version_of_pyxis_has_is_taken() -> None:
    everything = spec(unshare=["uts"], entrypoint_log=True, mounts=["/a b"])
    refuse_what_pyxis_lacks(everything, ["/c d:/c d"], "0.24.0")
    refuse_what_pyxis_lacks(spec(entrypoint_log=True), ["/c:/c"], "0.20")


IMAGES = Path("/images")


@pytest.mark.parametrize(
    ("image", "file", "uri", "moves"),
    [
        (
            "nvcr.io/nvidia/pytorch:25.01-py3",
            "nvcr.io+nvidia+pytorch+25.01-py3",
            "docker://nvcr.io#nvidia/pytorch:25.01-py3",
            False,
        ),
        ("docker://a:1", "a+1", "docker://a:1", False),
        ("$oauthtoken@nvcr.io#a/b:1", "nvcr.io+a+b+1", "docker://$oauthtoken@nvcr.io#a/b:1", False),
        ("localhost:5000/a", "localhost+5000+a", "docker://localhost:5000#a", True),
        ("ubuntu:latest", "ubuntu+latest", "docker://ubuntu:latest", True),
        (f"ubuntu@{DIGEST}", "ubuntu+sha256+" + DIGEST[7:], f"docker://ubuntu@{DIGEST}", False),
    ],
)
def test_an_image_of_a_registry_is_imported_once_for_several_nodes(
    image: str, file: str, uri: str, moves: bool
) -> None:
    shared = shared_image(spec(image=image), 2, IMAGES)
    assert shared is not None
    assert (shared.folder, shared.file, shared.uri, shared.moves) == ("/images", file, uri, moves)
    assert '--container-image="$hpcai_image"' in words(spec(image=image), imported=True)


@pytest.mark.parametrize(
    ("image", "nodes"), [("a:1", 1), ("/a.sqsh", 2), ("a.sqsh", 2), ("dockerd://a:1", 2)]
)
def test_one_node_and_files_need_no_import(image: str, nodes: int) -> None:
    assert shared_image(spec(image=image), nodes, IMAGES) is None


def test_a_container_is_saved_to_a_whole_path() -> None:
    assert saved_file(spec(), "/w") is None
    assert saved_file(spec(save="x.sqsh"), "/w") == "/w/x.sqsh"
    assert saved_file(spec(save="/a/x.sqsh"), "/w") == "/a/x.sqsh"


def test_an_array_imports_once_what_keeps_its_name() -> None:
    shared = shared_image(spec(image="reg.example#demo:1"), 1, IMAGES, is_array=True)
    assert shared is not None and not shared.moves
    assert shared_image(spec(image="reg.example#demo"), 1, IMAGES, is_array=True) is None


def test_a_tag_with_a_digest_needs_enroot_4() -> None:
    both = spec(image=f"reg.example#demo:1@{DIGEST}")
    with pytest.raises(RenderError, match=r"has a tag and a digest, and Enroot 3\.5\.0 reads one"):
        refuse_what_enroot_lacks(both, "3.5.0")
    for version in ("4.0", "v4.1.2", None):
        refuse_what_enroot_lacks(both, version)
    refuse_what_enroot_lacks(spec(image=f"reg.example#demo@{DIGEST}"), "3.5.0")


def test_a_path_of_the_home_folder_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyxis takes `~` for a folder of that name, or refuses it."""
    monkeypatch.setenv("HOME", "/shared/home/ada")
    found = spec(image="~/images/x.sqsh", mounts=["~/in:/in:ro", "~/x"], save="~/images/y.sqsh")
    assert (found.image, found.save) == ("/shared/home/ada/images/x.sqsh", "/shared/home/ada/images/y.sqsh")
    assert found.mounts == ("/shared/home/ada/in:/in:ro", "/shared/home/ada/x")
