"""What an image and a mount of a container may be."""

from __future__ import annotations

import pytest

from hpcai.specs.container import ContainerSpec
from hpcai.specs.fields import mistakes_of

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "image",
    [
        "ubuntu",
        "ubuntu:22.04",
        f"ubuntu@{DIGEST}",
        f"ubuntu:22.04@{DIGEST}",
        f"nvcr.io#nvidia/pytorch:25.09-py3@{DIGEST}",
        "$oauthtoken@nvcr.io#nvidia/pytorch:25.09-py3",
        "Me@Host.example:5000#team/demo:V_1.0-RC",
        "Host.example:5000/team/demo",
        "docker://me@team/demo:1",
        "dockerd://demo:1",
        '/shared/my images/it\'s "new".sqsh',
        "./a b.sqsh",
        "my images/x.squashfs",
    ],
)
def test_an_image_has_a_form_that_enroot_reads(image: str) -> None:
    assert mistakes_of(ContainerSpec, {"image": image}) == {}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("ubuntu:", "the tag '' is not"),
        ("docker:ubuntu:22.04", "the tag 'ubuntu:22.04' is not"),
        ("host.example:5000#a:1:2", "the tag '1:2' is not"),
        (f"ubuntu:@{DIGEST}", "the tag '' is not"),
        ("ubuntu@sha256:abc", "'abc' has 3"),
        (f"ubuntu@{DIGEST.upper().replace('SHA', 'sha')}", "a digest is"),
        ("${IMAGE}", "no shell reads it"),
        ("nvcr.io#$TEAM/pytorch:1", "no shell reads it"),
        ("/shared/x\ny.sqsh", "in one line"),
        ("my image", "or the path of a .sqsh file"),
        ("a#b#c", "or the path of a .sqsh file"),
        ("UBUNTU", "no capitals: 'ubuntu'"),
        ("oras://a/b", "of the schemes only"),
    ],
)
def test_an_image_that_no_registry_can_have_is_refused_with_the_reason(image: str, words: str) -> None:
    assert words in mistakes_of(ContainerSpec, {"image": image})["image"]


@pytest.mark.parametrize(("mount", "out"), [("$HOME/x:/x", "$HOME"), ("~me:/x", "~me")])
def test_a_mount_that_only_a_shell_could_read_is_refused_so(mount: str, out: str) -> None:
    assert (
        f"no shell reads it: write {out} out"
        in mistakes_of(ContainerSpec, {"image": "a", "mounts": [mount]})["mounts"]
    )
