"""`tlresearch completion bash|zsh|fish`: the script that makes a shell ask `tlresearch` what may come next."""

from __future__ import annotations

import argparse
import shlex

from tlresearch.commands.main import COMMANDS
from tlresearch.config.completion import SHELLS, complete

SCRIPTS = {
    # bash breaks words at "=" and ":", so that only what follows the last break may be replaced.
    "bash": r"""# eval "$(tlresearch completion bash)"
_tlresearch() {
    local line="${COMP_LINE:0:COMP_POINT}" current="${COMP_WORDS[COMP_CWORD]}" candidate
    local word="${line##*[[:space:]]}" prefix=""
    case "$word" in
        [\"\']*) ;;
        *) prefix="${word%"${word##*[=:]}"}" ;;
    esac
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("${candidate#"$prefix"}")
    done < <(tlresearch completion bash --line "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *\[* ]]; then
        COMPREPLY+=("${COMPREPLY[0]}]")  # a list goes on or ends; one candidate alone would close an open quote
    elif [[ ${#COMPREPLY[@]} -ne 1 || "${COMPREPLY[0]}" == *[=./] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _tlresearch tlresearch
""",
    "zsh": r"""# eval "$(tlresearch completion zsh)"
_tlresearch() {
    local -a candidates
    candidates=("${(@f)$(tlresearch completion zsh --line "$LBUFFER" 2>/dev/null)}")
    [[ -n "$candidates" ]] && compadd -Q -S '' -- $candidates
}
compdef _tlresearch tlresearch
""",
    "fish": r"""# tlresearch completion fish | source
complete -c tlresearch -f -a '(tlresearch completion fish --line (commandline -cp | string collect) 2>/dev/null)'
""",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch completion` takes."""
    parser.add_argument("shell", choices=SHELLS)
    parser.add_argument("--line", help="prints the candidates for this command line instead of the script")


def main(arguments: argparse.Namespace) -> int:
    """Prints the script, or the candidates, one a line."""
    if arguments.line is None:
        print(SCRIPTS[arguments.shell], end="")
        return 0
    for candidate in complete(words(arguments.line), COMMANDS):
        print(candidate)
    return 0


def words(line: str) -> list[str]:
    """The words after `tlresearch`, quotes removed; the last one is that under the cursor, "" after a space."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    found = []
    try:
        found += list(lexer)
    except ValueError:  # a quote that is still open: what it holds is the last word
        found = [*_split(line[: _open_quote(line)]), line[_open_quote(line) + 1 :]]
        return found[1:]
    return found[1:] if found[1:] and not line.endswith(" ") else [*found[1:], ""]


def _split(text: str) -> list[str]:
    return shlex.split(text)


def _open_quote(line: str) -> int:
    quote, place = "", -1
    for i, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote, place = character, i
    return place
