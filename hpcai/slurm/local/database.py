"""The database of a cluster that keeps accounts: a MariaDB of its own, which only its user reaches."""

from __future__ import annotations

import os
import pwd
import secrets
from pathlib import Path

from hpcai import shell
from hpcai.errors import ToolError
from hpcai.files import publish, scratch_folder, write_whole
from hpcai.slurm.local import conf
from hpcai.slurm.local.accounting import Parts
from hpcai.slurm.local.conf import Layout
from hpcai.slurm.local.places import Place

BOOTSTRAP_TIMEOUT_S = 60.0


def set_up(where: Place, layout: Layout, parts: Parts) -> None:
    """Makes the database the first time, and a new password for slurmdbd each time."""
    if not where.database.is_dir():
        with scratch_folder(where.state) as folder:
            (folder / "new").mkdir(mode=0o700)
            _bootstrap(layout.home, parts, folder / "new")
            publish(folder / "new", where.database)
    password = secrets.token_urlsafe(32)
    write_whole(where.database_secret, conf.database_sql(password), mode=0o600)
    write_whole(where.state / "slurmdbd.conf", conf.slurmdbd_conf(layout, password), mode=0o600)


def _bootstrap(home: Path, parts: Parts, data: Path) -> None:
    sql = f"CREATE DATABASE mysql;\nUSE mysql;\nSET @skip_auth_anonymous=1;\n{parts.tables()}"
    argv = [*_program(home), f"--datadir={data}", "--bootstrap"]
    done = shell.run(argv, timeout_s=BOOTSTRAP_TIMEOUT_S, stdin=sql, check=False)
    if done.status != 0:
        last = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["it gave no reason"]
        raise ToolError(f"MariaDB could not make its tables: {last[-1].rstrip('.')}.")


def _program(home: Path) -> list[str]:
    """mariadbd as this user, small, without a port, and without the settings of any other on this machine."""
    share = f"{home}/accounting/share/mariadb"
    # What the system has taken outlasts every kill; only a power cut may cost accounts of the last seconds.
    quick = ("innodb-flush-method=nosync", "innodb-flush-log-at-trx-commit=0", "innodb-doublewrite=0")
    sizes = ("innodb-buffer-pool-size=32M", "innodb-log-file-size=8M", "performance-schema=0", "skip-log-bin")
    as_root = [f"--user={pwd.getpwuid(0).pw_name}"] if os.geteuid() == 0 else []
    return [
        *(f"{home}/accounting/sbin/mariadbd", "--no-defaults", *as_root, "--skip-networking"),
        *(
            f"--basedir={home}/accounting",
            f"--lc-messages-dir={share}",
            f"--character-sets-dir={share}/charsets",
        ),
        *(f"--{option}" for option in (*quick, *sizes)),
    ]


def socket(home: Path) -> Path:
    return home / "run" / "database.sock"


def argv(home: Path) -> list[str]:
    """The words that start the database; slurmdbd wants the last one."""
    files = [f"--datadir={home}/database", f"--socket={socket(home)}", f"--pid-file={home}/run/database.pid"]
    more = [f"--init-file={home}/secrets/database.sql", "--innodb-lock-wait-timeout=900"]
    return [*_program(home), *files, *more]


def environ(home: Path) -> dict[str, str]:
    """How slurmdbd finds its settings and the database."""
    return {"SLURM_CONF": f"{home}/slurm.conf", "MYSQL_UNIX_PORT": str(socket(home))}
