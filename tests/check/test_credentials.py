"""Whose passwords an import takes, by Enroot's grammar of references; netrc's as curl reads it."""

from __future__ import annotations

import pytest

from hpcai.check.credentials import Asked, asked_for, passwords

NGC = ("nvcr.io", "authn.nvidia.com")
HUB = ("registry-1.docker.io", "auth.docker.io")


@pytest.mark.parametrize(
    ("image", "hosts", "user"),
    [
        ("nvcr.io/nvidia/pytorch:25.01", NGC, None),
        ("docker://$oauthtoken@nvcr.io#nvidia/pytorch:25.01", NGC, "$oauthtoken"),
        ("localhost:5000/x/y", ("localhost",), None),
        ("a.azurecr.io:443#x@sha256:aa", ("a.azurecr.io",), None),
        ("team/demo@sha256:aa", HUB, None),
        ("me@team/demo:1", HUB, "me"),
        ("me@docker.io/team/x.y:1", HUB, "me"),
        ("index.docker.io#team/x", HUB, None),
    ],
)
def test_who_is_asked_for_a_password(image: str, hosts: tuple[str, ...], user: str | None) -> None:
    assert asked_for(image) == Asked(hosts, user)


@pytest.mark.parametrize(
    "image",
    [
        *(
            "ubuntu",
            "ubuntu:24.04",
            "library/ubuntu",
            "docker.io#ubuntu",
            "docker://docker.io/library/ubuntu",
        ),
        *("mcr.microsoft.com/x/y:1", "dockerd://team/demo", "./a.sqsh", "/a/b.sqsh"),
    ],
)
def test_whom_nobody_asks(image: str) -> None:
    assert asked_for(image) is None


def test_a_file_of_passwords_is_read_as_curl_reads_it() -> None:
    text = """# machine a password no
machine a login x password 1
machine b
  password 2
  login y
machine a login z password 3
default login w password 4
machine c login v
"""
    assert passwords(text) == {"a": "1", "b": "2", "c": ""}
