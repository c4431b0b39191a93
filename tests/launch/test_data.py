"""What `submit` knows of a job's data before the job takes nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import NotFoundError
from hpcai.launch.data import refuse_missing_data
from hpcai.launch.script import create_record
from hpcai.render.resolved import ResolvedJob, Where
from hpcai.specs.job import DataSpec, JobSpec
from hpcai.specs.site import Site
from hpcai.staging.push import push
from tests.real_cluster import RealBlob
from tests.staging.sets import write_set


def job(source: str, version: str | None = None, **places: str) -> ResolvedJob:
    data = (DataSpec(name="d", source=source, version=version),)
    spec = JobSpec(name="a", command="true", data=data)
    return ResolvedJob(spec, Path("/"), Path("/usr/bin/python3"), places=places)


def test_no_record_is_made_for_a_job_whose_data_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="There is no data set at"):
        create_record(job((tmp_path / "none").as_uri()), "local", Site(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_only_nodes_may_see_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_set(tmp_path / "set", {"a.tar": 10})
    for where in ("slurm", "local"):
        refuse_missing_data(job((tmp_path / "set").as_uri(), manifest.version[:8]), where)
    assert caplog.messages == []
    refuse_missing_data(job((tmp_path / "none").as_uri()), "slurm")
    [said] = caplog.messages
    assert said.startswith("Data set 'd' was not seen from here: There is no data set at file://")


@pytest.mark.real
def test_what_the_storage_says_for_certain_is_refused_and_nothing_else(
    tmp_path: Path, blob: RealBlob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in blob.variables.items():
        monkeypatch.setenv(name, value)
    write_set(tmp_path / "set", {"a.tar": 10})
    push(tmp_path / "set", "azure://launch-data/set", blob.variables)
    where: Where = "slurm"
    refuse_missing_data(job("azure://launch-data/set"), where)
    for source, version, words in (
        ("azure://launch-date/set", None, "There is no container 'launch-date'"),
        ("azure://launch-data/sat", None, "There is no data set at"),
        ("azure://launch-data/set", "0" * 8, "holds version"),
    ):
        with pytest.raises(NotFoundError, match=words):
            refuse_missing_data(job(source, version), where)
    assert caplog.messages == []
    refuse_missing_data(job("azure://none/set", HPCAI_STORAGE_ENDPOINT="http://127.0.0.1:1/x"), where)
    refuse_missing_data(job("azure://none/set", HPCAI_STORAGE_CREDENTIALS=str(tmp_path / "none")), where)
    monkeypatch.delenv("HPCAI_STORAGE_CREDENTIALS")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "A" * 86 + "==")
    refuse_missing_data(job("azure://none/set"), where)
    assert [said.partition(": ")[0] for said in caplog.messages] == ["Data set 'd' was not looked for"] * 3
