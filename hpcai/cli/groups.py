"""Groups of commands: their lines in `--help`, and the nearest word for one that is none."""

from __future__ import annotations

import click

from hpcai.errors import did_you_mean


class CommandGroup(click.Group):
    """A click group whose help cuts no line, and that answers an unknown word with the nearest."""

    def lines(self, ctx: click.Context) -> dict[str, str]:
        """Each command's word and its line in the group's help."""
        commands = ((word, self.get_command(ctx, word)) for word in self.list_commands(ctx))
        return {word: command.get_short_help_str(limit=500) for word, command in commands if command}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self.lines(ctx).items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word, known = args[0], self.list_commands(ctx)
        if word not in known and not word.startswith("-"):
            hint = did_you_mean(word, known) or f"`{ctx.command_path} --help` lists the commands."
            ctx.fail(f"There is no command {word!r}.\n{hint}")
        return super().resolve_command(ctx, args)
