# Completion of dpl's command lines for fish 3 and later.
#   dpl completions fish > ~/.config/fish/completions/dpl.fish
# or for one shell: dpl completions fish | source

function __dpl_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    for line in ($words[1] __complete fish $words "$current" 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path "$current"
            case :folders
                __fish_complete_directories "$current" ''
            case '*'
                echo $line
        end
    end
end

complete --command dpl --no-files --keep-order --arguments '(__dpl_complete)'
