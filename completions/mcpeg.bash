# bash completion for mcpeg(8). The program itself knows what can stand at the cursor: `mcpeg complete`.

_mcpeg() {
    local cur=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]/#\~/$HOME} kind ending line
    local -a answer
    mapfile -t answer < <("$program" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    IFS=$'\t' read -r kind ending _ <<<"${answer[0]}"
    # The word that is replaced is the one behind the equals sign.
    [[ $cur != '=' ]] || cur=
    COMPREPLY=()
    case $kind in
    values)
        for line in "${answer[@]:1}"; do
            COMPREPLY+=("${line%%$'\t'*}")
        done
        ;;
    files)
        [[ $ending != - ]] || ending=
        if declare -F _comp_compgen_filedir >/dev/null; then
            _comp_compgen_filedir ${ending:+"$ending"}
        elif declare -F _filedir >/dev/null; then
            _filedir ${ending:+"$ending"}
        else
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f ${ending:+-X "!*.$ending"} -- "$cur" && compgen -d -- "$cur")
        fi
        ;;
    directories)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        ;;
    esac
}

complete -F _mcpeg mcpeg
