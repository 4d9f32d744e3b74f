# fish completion for mcpeg(8). The program itself knows what can stand at the cursor: `mcpeg complete`.

function __mcpeg_complete
    set -l words (commandline --tokenize --current-process --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l answer ($words[1] complete -- $words[2..] $current 2>/dev/null)
    set -l head (string split \t -- $answer[1])
    set -l glue
    test "$head[3]" = -; or set glue $head[3]
    set -l typed (string replace -- "$glue" '' $current)
    switch "$head[1]"
        case values
            string replace --regex '^' -- "$glue" $answer[2..]
        case files
            for file in (__fish_complete_path $typed)
                set -l path (string split --fields 1 \t -- $file)
                if test "$head[2]" = -; or string match --quiet -- '*/' $path; or string match --quiet -- "*.$head[2]" $path
                    printf '%s\n' "$glue$file"
                end
            end
        case directories
            string replace --regex '^' -- "$glue" (__fish_complete_directories $typed '')
    end
end

complete --command mcpeg --no-files --arguments '(__mcpeg_complete)'
