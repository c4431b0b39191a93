"""What config files and variables say for every job, looked at before there is a job."""

from __future__ import annotations

import re
from pathlib import Path

from hpcai.specs.fields import mistakes_of
from hpcai.specs.job import JobSpec
from hpcai.specs.load import document_of, lay, validated
from hpcai.specs.mistakes import SpecFileError, UnknownNames
from hpcai.specs.settings import Settings


def refuse_wrong_defaults(settings: Settings) -> None:
    """Raises SpecFileError with the values that no job could have.

    What does not fit together is left: a job's own file may still put it right.
    """
    document = document_of("{kind: job, name: x, command: x}", "")
    lay(document, settings, ())
    try:
        validated(document, Path.cwd(), check_paths=False)
    except UnknownNames:
        raise
    except SpecFileError as error:
        wrong = mistakes_of(JobSpec, document.data)
        mistakes = [one for one in error.mistakes if re.split(r"[.\\[]", one.key)[0] in wrong]
        if mistakes:
            raise SpecFileError(mistakes) from error
