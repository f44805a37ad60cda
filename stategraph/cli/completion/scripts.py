"""Scripts of shells that ask this program what may stand where, so that an update of it needs no new ones."""

from __future__ import annotations

from typing import Final

_BASH: Final = """\
_stategraph() {
    local IFS=$'\\n'
    COMPREPLY=($(stategraph completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _stategraph stategraph
"""

_ZSH: Final = """\
#compdef stategraph
_stategraph() {
    local -a found
    local line
    for line in "${(@f)$(stategraph completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] && found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done
    if (( ${#found} )); then _describe stategraph found; else _files; fi
}
compdef _stategraph stategraph
"""

_FISH: Final = """\
function __stategraph
    set -l words (commandline -opc) (commandline -ct)
    stategraph completion words -- $words[2..] 2>/dev/null
end
complete -c stategraph -a '(__stategraph)'
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
