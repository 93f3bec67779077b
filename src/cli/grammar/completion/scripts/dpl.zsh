#compdef dpl
# Completion of dpl's command lines for zsh.
#   dpl completions zsh > ~/.zfunc/_dpl     (with fpath+=~/.zfunc before compinit)
# or for one shell: source <(dpl completions zsh)

_dpl() {
    local line value about
    local -a complete open
    while IFS= read -r line; do
        case $line in
            :files) _files; continue ;;
            :folders) _files -/; continue ;;
        esac
        value=${line%%$'\t'*} about=${line#*$'\t'}
        value=${value//:/\\:}
        [[ -n $about ]] && value+=":$about"
        if [[ ${line%%$'\t'*} == */ ]]; then open+=("$value"); else complete+=("$value"); fi
    done < <("${(Q)words[1]}" __complete zsh "${(@Q)words[1,CURRENT-1]}" "${PREFIX}" 2>/dev/null)
    (( $#complete )) && _describe -V dpl complete
    (( $#open )) && _describe -V folder open -S ''
    return 0
}

if [[ ${funcstack[1]} == _dpl ]]; then
    _dpl "$@"
else
    compdef _dpl dpl
fi
