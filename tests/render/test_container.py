from __future__ import annotations

import pytest

from hpcai.render.container import image_reference


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("ubuntu:22.04", "ubuntu:22.04"),
        ("library/ubuntu", "library/ubuntu"),
        ("nvcr.io/nvidia/pytorch:24.05-py3", "nvcr.io#nvidia/pytorch:24.05-py3"),
        ("nvcr.io#nvidia/pytorch:24.05-py3", "nvcr.io#nvidia/pytorch:24.05-py3"),
        ("localhost:5000/a", "localhost:5000#a"),
        ("docker://reg.example/a/b:1", "docker://reg.example#a/b:1"),
        ("dockerd://ubuntu", "dockerd://ubuntu"),
        ("/shared/image.sqsh", "/shared/image.sqsh"),
        ("./image.sqsh", "./image.sqsh"),
        ("image.sqsh", "./image.sqsh"),
        ("folder.d/image.squashfs", "folder.d#image.squashfs"),
    ],
)
def test_an_image_is_named_so_that_every_enroot_reads_it_alike(image: str, reference: str) -> None:
    assert image_reference(image) == reference
