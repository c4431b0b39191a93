from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hpcai.train.options import parse_options
from hpcai.train.stopping import Watchdog


def test_the_records_go_where_the_job_script_says() -> None:
    environ = {"HPCAI_RUN_DIR": "/runs/a", "HPCAI_OUTPUTS": "/elsewhere", "HPCAI_ATTEMPT": "2"}
    options = parse_options(["--data", "/d"], environ)
    assert (options.run_dir, options.outputs, options.attempt) == (Path("/runs/a"), Path("/elsewhere"), 2)
    options = parse_options(["--data", "/d", "--run-dir", "/mine"], environ)
    assert (options.run_dir, options.outputs) == (Path("/mine"), Path("/mine/outputs"))
    options = parse_options(["--data", "/d"], {})
    assert (options.run_dir, options.outputs) == (Path("hpcai-run"), Path("hpcai-run/outputs"))


def test_what_is_not_given_is_left_to_recipe_and_launcher() -> None:
    options = parse_options(["--data", "/d"], {})
    assert (options.base_lr, options.flip, options.threads) == (None, None, None)
    assert parse_options(["--data", "/d", "--no-flip", "--no-resume"], {}).flip is False


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "--data"),
        (["--data", "/d", "--epochs", "0"], "'0' is not a whole number from 1 to 100000"),
        (["--data", "/d", "--epochs", "ninety"], "'ninety' is not a whole number"),
        (["--data", "/d", "--image-size", "8"], "'8' is not a whole number from 32 to 1024"),
        (["--data", "/d", "--base-lr", "-1"], "'-1' is not a number above 0"),
        (["--data", "/d", "--base-lr", "nan"], "'nan' is not a number above 0"),
        (["--data", "/d", "--comm", "nccl"], "invalid choice: 'nccl'"),
        (["--data", "/d", "--model", "resnet5"], "invalid choice: 'resnet5'"),
        (["--data", "/d", "--epoch", "3"], "--epoch"),
    ],
)
def test_wrong_usage_says_what_is_allowed(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(argv, {})
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("attempt", ["first", "²", "٣", "-1", "1.0", ""])
def test_the_attempt_must_be_a_number(attempt: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--data", "/d"], {"HPCAI_ATTEMPT": attempt})
    assert f"HPCAI_ATTEMPT is {attempt!r}" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["1e12", "1e300"])
def test_a_stall_timeout_beyond_what_can_be_waited_is_for_ever(given: str) -> None:
    timeout_s = parse_options(["--data", "/d", "--stall-timeout-s", given], {}).stall_timeout_s
    assert timedelta(seconds=timeout_s) > timedelta(days=365 * 30)
    with Watchdog(timeout_s, "rank 0", pytest.fail) as watchdog:  # type: ignore[arg-type]
        watchdog.beat("at training step 1")
        assert watchdog._thread.is_alive()
