# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mcpeg_global_optspecs
    string join \n daemon stop restart reload status log-rotate check force start-timeout= json c/config= pid-file= log-file= listen= log-level= dev h/help V/version
end

function __fish_mcpeg_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mcpeg_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mcpeg_using_subcommand
    set -l cmd (__fish_mcpeg_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mcpeg -n "__fish_mcpeg_needs_command" -l start-timeout -d 'How long the new process of --restart may take to serve' -r
complete -c mcpeg -n "__fish_mcpeg_needs_command" -s c -l config -d 'The configuration file' -r -F
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l pid-file -d 'The pid file; lock and control socket live beside it' -r -F
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l log-file -d 'Write the log to this file (default: the file of the log section in the configuration)' -r -F
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l listen -d 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)' -r
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l log-level -d 'The least severe level to log: error, warn, info, debug, trace' -r -f -a "error\t'Something failed and needs a person'
warn\t'Something is wrong but mcpeg goes on'
info\t'Life-cycle events'
debug\t'What each part decides'
trace\t'Each message'"
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l daemon -d 'Serve in the background; return when the gateway serves'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l stop -d 'Drain the running gateway and stop it'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l restart -d 'Replace the running gateway without losing a request; start it if it is stopped'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l reload -d 'Read the configuration again; keep the old one if the new one is wrong'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l status -d 'Tell whether the gateway runs, and how it is'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l log-rotate -d 'Rotate the log file, or reopen it if it was moved'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l check -d 'Test the configuration and exit without any effect'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l force -d 'With --stop: kill a gateway that does not end in time'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l json -d 'Print the answer of --status, --reload, --log-rotate or --check as JSON'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -l dev -d 'Development profile: loopback only, readable console log at debug level'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -s V -l version -d 'Print version'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -f -a "install" -d 'Install mcpeg as a systemd service on this machine'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -f -a "uninstall" -d 'Remove what `mcpeg install` put on this machine'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -f -a "import" -d 'Turn a client\'s mcpServers JSON into configuration files'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -f -a "generate" -d 'Write the files that packages and the repository ship'
complete -c mcpeg -n "__fish_mcpeg_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l plan -d 'Print the plan for people or for programs, and change nothing' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l config -d 'Install this file as the configuration' -r -F
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l listen -d 'Have the default configuration listen here: HOST:PORT on loopback or unix:/PATH; may be repeated' -r
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l user -d 'Run the service under this account, which is made if it is missing (default: mcpeg)' -r -f -a "(__fish_complete_users)"
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l group -d 'Run the service under this group, which is made if it is missing (default: that of the account)' -r
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l prefix -d 'Put program, manual and completions below this directory (default: /usr/local)' -r -f -a "(__fish_complete_directories)"
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l profile -d 'production: a confined service of the machine. development: a service of the calling user, without root' -r -f -a "production\t'A confined service of the machine'
development\t'A service of the calling user'"
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l instance -d 'A gateway beside the first one, with a unit, an account, a configuration and directories of its own' -r
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l root -d 'Work below this directory instead of /, for image builds; implies --no-start' -r -f -a "(__fish_complete_directories)"
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l dry-run -d 'Print the plan and change nothing'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l check -d 'Tell whether anything has drifted, and change nothing'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -s y -l yes -d 'Do not ask for confirmation'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l json -d 'Tell each step, and the result, as one JSON object on a line; implies --yes'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l no-start -d 'Do not start the service'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -l no-enable -d 'Do not start the service at boot'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand uninstall" -l profile -d 'production: a confined service of the machine. development: a service of the calling user, without root' -r -f -a "production\t'A confined service of the machine'
development\t'A service of the calling user'"
complete -c mcpeg -n "__fish_mcpeg_using_subcommand uninstall" -l instance -d 'A gateway beside the first one, with a unit, an account, a configuration and directories of its own' -r
complete -c mcpeg -n "__fish_mcpeg_using_subcommand uninstall" -l root -d 'Work below this directory instead of /, for image builds; implies --no-start' -r -f -a "(__fish_complete_directories)"
complete -c mcpeg -n "__fish_mcpeg_using_subcommand uninstall" -l purge -d 'Remove configuration, state and logs too'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand uninstall" -l dry-run -d 'Print the plan and change nothing'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand uninstall" -s y -l yes -d 'Do not ask for confirmation'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand uninstall" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand import" -s c -l config -d 'The configuration file beside which conf.d lies' -r -F
complete -c mcpeg -n "__fish_mcpeg_using_subcommand import" -l dry-run -d 'Print what would be written and write nothing'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand import" -l force -d 'Replace files in conf.d that exist'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand import" -s h -l help -d 'Print help'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand generate" -l for -d 'Whom units are for' -r -f -a "deb\t'The Debian package'
rpm\t'The RPM package'
local\t'The tarball, and `mcpeg install`'"
complete -c mcpeg -n "__fish_mcpeg_using_subcommand generate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand help; and not __fish_seen_subcommand_from install uninstall import generate help" -f -a "install" -d 'Install mcpeg as a systemd service on this machine'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand help; and not __fish_seen_subcommand_from install uninstall import generate help" -f -a "uninstall" -d 'Remove what `mcpeg install` put on this machine'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand help; and not __fish_seen_subcommand_from install uninstall import generate help" -f -a "import" -d 'Turn a client\'s mcpServers JSON into configuration files'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand help; and not __fish_seen_subcommand_from install uninstall import generate help" -f -a "generate" -d 'Write the files that packages and the repository ship'
complete -c mcpeg -n "__fish_mcpeg_using_subcommand help; and not __fish_seen_subcommand_from install uninstall import generate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
