# Completion of dpl's command lines for bash 4 and later.
#   dpl completions bash > ~/.local/share/bash-completion/completions/dpl
# or for one shell: source <(dpl completions bash)

_dpl() {
    local program=${1/#\~\//$HOME/} line folders='' files=''
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files) files=yes ;;
            :folders) folders=yes ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <(COMP_WORDBREAKS=$COMP_WORDBREAKS "$program" __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    if [[ $files$folders ]]; then
        compopt -o filenames +o nospace
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(if [[ $files ]]; then compgen -f -- "$2"; else compgen -d -- "$2"; fi)
    fi
}

complete -o nospace -o nosort -F _dpl dpl 2>/dev/null || complete -o nospace -F _dpl dpl
