"""#SBATCH lines, and the job's name that sbatch takes from each."""

NAMES = (
    ("#SBATCH --job-name=plain", "plain"),
    ("#SBATCH -J plain", "plain"),
    ("#SBATCH -Jplain", "plain"),
    ("#SBATCH --job-name=cut#here", "cut"),
    ('#SBATCH --job-name="kept#here"', "kept#here"),
    (r"#SBATCH --job-name=kept\#here", "kept#here"),
    ("#SBATCH --job-name='one word'", "one word"),
    ("#SBATCH --job-name plain # a comment", "plain"),
    ("#SBATCH --job-n=short", "short"),
    ("#SBATCH\t--job-name=tab", "tab"),
    ("#SBATCH --job-name=first\n#SBATCH --job-name=last", "last"),
    ("#SBATCH --job-name=in\n\n# a comment\n#SBATCH --job-name=in2", "in2"),
    ("#SBATCH --job-name=in\ntrue\n#SBATCH --job-name=late", "in"),
)
