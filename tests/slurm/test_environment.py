from __future__ import annotations

from hpcai.slurm.environment import for_submission

SCRIPT = (
    "#!/bin/bash\n#SBATCH --partition=main\n#SBATCH --time=5\necho '#SBATCH --account=no line of its own'\n"
)


def test_what_the_script_says_no_variable_says_otherwise() -> None:
    theirs = {
        "SBATCH_PARTITION": "urgent",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_JOB_NAME": "z",
        "SBATCH_EXPORT": "NONE",
    }
    kept = {
        "SBATCH_ACCOUNT": "mine",
        "SBATCH_QOS": "high",
        "PATH": "/bin",
        "SLURM_CONF": "/a",
        "MY_SLURM_X": "1",
    }
    of_a_job = {"SLURM_JOB_ID": "7", "SLURM_EXPORT_ENV": "NONE", "SLURMD_NODENAME": "n1", "PMIX_RANK": "0"}
    assert for_submission({**theirs, **kept, **of_a_job}, SCRIPT) == kept


def test_a_default_of_the_users_holds_where_the_script_is_silent() -> None:
    assert for_submission({"SBATCH_PARTITION": "mine"}, "#!/bin/bash\n") == {"SBATCH_PARTITION": "mine"}
