"""Completion scripts, made from the parsers, so that they know every command and option."""

from __future__ import annotations

import argparse

from phase4.cli.main import build_parser
from phase4.cli.parsers import options_of


def script(shell: str) -> str:
    """Return the completion script of bash, zsh or fish."""
    words = _words(build_parser())
    if shell == "fish":
        return "\n".join(_fish(words))
    cases = "\n".join(f'    "{" ".join(path)}") words="{" ".join(found)}" ;;' for path, found in words.items())
    body = f"""_phase4() {{
  local path="" words="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) ;; *) path="${{path:+$path }}$word" ;; esac
  done
  case "$(echo "$path" | cut -d' ' -f1-2)" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _phase4 phase4 phase4-cli"""
    return f"autoload -U +X bashcompinit && bashcompinit\n{body}" if shell == "zsh" else body


def _words(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], list[str]]:
    """Return, for each sequence of commands, what may follow."""
    for action in parser._actions:  # noqa: SLF001  argparse shows its actions in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  likewise
            found = {path: sorted(action.choices)}
            for name, below in action.choices.items():
                found |= _words(below, (*path, name))
            return found
    return {path: sorted(name for name in options_of(parser) if name.startswith("--"))}


def _fish(words: dict[tuple[str, ...], list[str]]) -> list[str]:
    lines = []
    for path, found in words.items():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in path)
        condition = seen or "__fish_use_subcommand"
        lines += [f'complete -c phase4 -f -n "{condition}" -a "{word}"' for word in found]
    return lines
