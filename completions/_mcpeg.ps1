
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'mcpeg' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'mcpeg'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'mcpeg' {
            [CompletionResult]::new('--start-timeout', '--start-timeout', [CompletionResultType]::ParameterName, 'How long a process that is started may take to serve (default: 90s; 30s with --restart)')
            [CompletionResult]::new('--upstream', '--upstream', [CompletionResultType]::ParameterName, 'With --status: tell of this upstream; may be repeated')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The pid file; lock and control socket live beside it')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Write the log to this file (default: the file of the log section in the configuration)')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'The least severe level to log: error, warn, info, debug, trace')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Give root up for this user once the listeners are bound')
            [CompletionResult]::new('--group', '--group', [CompletionResultType]::ParameterName, 'The group of that user (default: its own)')
            [CompletionResult]::new('--wait-upstreams', '--wait-upstreams', [CompletionResultType]::ParameterName, 'Be ready only when every upstream can be used, or after this time (default: 30s)')
            [CompletionResult]::new('--ready-fd', '--ready-fd', [CompletionResultType]::ParameterName, 'Write a newline to this open descriptor when the gateway serves, and close it')
            [CompletionResult]::new('--daemon', '--daemon', [CompletionResultType]::ParameterName, 'Serve in the background; return when the gateway serves')
            [CompletionResult]::new('--stop', '--stop', [CompletionResultType]::ParameterName, 'Drain the running gateway and stop it')
            [CompletionResult]::new('--restart', '--restart', [CompletionResultType]::ParameterName, 'Replace the running gateway without losing a request; start it if it is stopped')
            [CompletionResult]::new('--reload', '--reload', [CompletionResultType]::ParameterName, 'Read the configuration again; keep the old one if the new one is wrong')
            [CompletionResult]::new('--status', '--status', [CompletionResultType]::ParameterName, 'Tell whether the gateway runs, and how it is')
            [CompletionResult]::new('--log-rotate', '--log-rotate', [CompletionResultType]::ParameterName, 'Rotate the log file, or reopen it if it was moved')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Test the configuration and exit without any effect')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'With --stop: kill a gateway that does not end in time')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer of --status, --reload, --log-rotate or --check as JSON')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Development profile: loopback only, readable console log at debug level')
            [CompletionResult]::new('--outside-systemd', '--outside-systemd', [CompletionResultType]::ParameterName, 'Start as root beside a systemd unit what that unit starts')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Install mcpeg as a systemd service on this machine')
            [CompletionResult]::new('uninstall', 'uninstall', [CompletionResultType]::ParameterValue, 'Remove what `mcpeg install` put on this machine')
            [CompletionResult]::new('import', 'import', [CompletionResultType]::ParameterValue, 'Turn a client''s servers into configuration files')
            [CompletionResult]::new('token', 'token', [CompletionResultType]::ParameterValue, 'Make, list, replace and revoke the tokens of clients')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Tell why an upstream cannot be used or was restarted, and what mends it')
            [CompletionResult]::new('login', 'login', [CompletionResultType]::ParameterValue, 'Log in at an upstream that wants it, as its `oauth` says')
            [CompletionResult]::new('logout', 'logout', [CompletionResultType]::ParameterValue, 'Give the tokens of an upstream back')
            [CompletionResult]::new('tools', 'tools', [CompletionResultType]::ParameterValue, 'List the tools of the running gateway or of another MCP server, or tell about one')
            [CompletionResult]::new('call', 'call', [CompletionResultType]::ParameterValue, 'Call a tool')
            [CompletionResult]::new('read', 'read', [CompletionResultType]::ParameterValue, 'Read a resource')
            [CompletionResult]::new('prompt', 'prompt', [CompletionResultType]::ParameterValue, 'Get a prompt')
            [CompletionResult]::new('ping', 'ping', [CompletionResultType]::ParameterValue, 'Tell how fast the gateway or a server answers')
            [CompletionResult]::new('upstream', 'upstream', [CompletionResultType]::ParameterValue, 'List, add, remove and try upstreams')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Show the log, or what an upstream has written to standard error')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Tell whether the gateway runs, and how it is')
            [CompletionResult]::new('start', 'start', [CompletionResultType]::ParameterValue, 'Serve in the background; return when the gateway serves')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'Drain the running gateway and stop it')
            [CompletionResult]::new('restart', 'restart', [CompletionResultType]::ParameterValue, 'Replace the running gateway without losing a request; start it if it is stopped')
            [CompletionResult]::new('reload', 'reload', [CompletionResultType]::ParameterValue, 'Read the configuration again; keep the old one if the new one is wrong')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Test the configuration and exit without any effect')
            [CompletionResult]::new('rotate', 'rotate', [CompletionResultType]::ParameterValue, 'Rotate the log file, or reopen it if it was moved')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'mcpeg;install' {
            [CompletionResult]::new('--plan', '--plan', [CompletionResultType]::ParameterName, 'Print the plan for people or for programs, and change nothing')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Install this file as the configuration')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Have the default configuration listen here: HOST:PORT on loopback or unix:/PATH; may be repeated')
            [CompletionResult]::new('--log-rotation', '--log-rotation', [CompletionResultType]::ParameterName, 'Who rotates the log: own is mcpeg (the default); logrotate is logrotate(8), by a file in /etc/logrotate.d')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Run the service under this account, which is made if it is missing (default: mcpeg)')
            [CompletionResult]::new('--group', '--group', [CompletionResultType]::ParameterName, 'Run the service under this group, which is made if it is missing (default: that of the account)')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'Put program, manual and completions below this directory (default: /usr/local)')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'production: a confined service of the machine. development: a service of the calling user, without root')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'A gateway beside the first one, with a unit, an account, a configuration and directories of its own')
            [CompletionResult]::new('--root', '--root', [CompletionResultType]::ParameterName, 'Work below this directory instead of /, for image builds; implies --no-start')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print the plan and change nothing')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Tell whether anything has drifted, and change nothing')
            [CompletionResult]::new('--details', '--details', [CompletionResultType]::ParameterName, 'List each change with the lines of edited files, not only what the installation comes to')
            [CompletionResult]::new('-y', '-y', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Tell each step, and the result, as one JSON object on a line; implies --yes')
            [CompletionResult]::new('--adopt', '--adopt', [CompletionResultType]::ParameterName, 'Take the service over from the package that owns it')
            [CompletionResult]::new('--no-start', '--no-start', [CompletionResultType]::ParameterName, 'Do not start the service')
            [CompletionResult]::new('--no-enable', '--no-enable', [CompletionResultType]::ParameterName, 'Do not start the service at boot')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;uninstall' {
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'production: a confined service of the machine. development: a service of the calling user, without root')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'A gateway beside the first one, with a unit, an account, a configuration and directories of its own')
            [CompletionResult]::new('--root', '--root', [CompletionResultType]::ParameterName, 'Work below this directory instead of /, for image builds; implies --no-start')
            [CompletionResult]::new('--purge', '--purge', [CompletionResultType]::ParameterName, 'Remove configuration, state and logs too')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print the plan and change nothing')
            [CompletionResult]::new('--details', '--details', [CompletionResultType]::ParameterName, 'List each change, not only what the uninstallation comes to')
            [CompletionResult]::new('-y', '-y', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;import' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file beside which conf.d lies')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file beside which conf.d lies')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print what would be written and write nothing')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Replace files in conf.d that exist')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;token' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('create', 'create', [CompletionResultType]::ParameterValue, 'Make a token for a client that has none, and print it')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'Tell which clients have tokens, and until when; no secret is shown')
            [CompletionResult]::new('revoke', 'revoke', [CompletionResultType]::ParameterValue, 'Take all tokens of a client back')
            [CompletionResult]::new('rotate', 'rotate', [CompletionResultType]::ParameterValue, 'Put a new token in the place of those of a client, and print it')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'mcpeg;token;create' {
            [CompletionResult]::new('--expires', '--expires', [CompletionResultType]::ParameterName, 'How long it is good (default: until it is revoked)')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;token;list' {
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;token;revoke' {
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;token;rotate' {
            [CompletionResult]::new('--expires', '--expires', [CompletionResultType]::ParameterName, 'How long the new one is good (default: as long as the last one was)')
            [CompletionResult]::new('--overlap', '--overlap', [CompletionResultType]::ParameterName, 'How long the old one is good beside it (default: no longer)')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;token;help' {
            [CompletionResult]::new('create', 'create', [CompletionResultType]::ParameterValue, 'Make a token for a client that has none, and print it')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'Tell which clients have tokens, and until when; no secret is shown')
            [CompletionResult]::new('revoke', 'revoke', [CompletionResultType]::ParameterValue, 'Take all tokens of a client back')
            [CompletionResult]::new('rotate', 'rotate', [CompletionResultType]::ParameterValue, 'Put a new token in the place of those of a client, and print it')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'mcpeg;token;help;create' {
            break
        }
        'mcpeg;token;help;list' {
            break
        }
        'mcpeg;token;help;revoke' {
            break
        }
        'mcpeg;token;help;rotate' {
            break
        }
        'mcpeg;token;help;help' {
            break
        }
        'mcpeg;explain' {
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;login' {
            [CompletionResult]::new('--redirect-port', '--redirect-port', [CompletionResultType]::ParameterName, 'The port on this machine that the browser comes back to (default: a free one)')
            [CompletionResult]::new('--scope', '--scope', [CompletionResultType]::ParameterName, 'Ask for this scope, too, beside those that were granted before; may be repeated')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--device', '--device', [CompletionResultType]::ParameterName, 'Log in by a code that is typed into a browser anywhere')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;logout' {
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;tools' {
            [CompletionResult]::new('--upstream', '--upstream', [CompletionResultType]::ParameterName, 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The running gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file')
            [CompletionResult]::new('--token-file', '--token-file', [CompletionResultType]::ParameterName, 'Send the token in this file')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long an answer may take (default: as long as the gateway waits)')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('approve', 'approve', [CompletionResultType]::ParameterValue, 'Show how tools of an upstream with pin differ from what was approved, and approve them')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'mcpeg;tools;approve' {
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('-y', '-y', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;tools;help' {
            [CompletionResult]::new('approve', 'approve', [CompletionResultType]::ParameterValue, 'Show how tools of an upstream with pin differ from what was approved, and approve them')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'mcpeg;tools;help;approve' {
            break
        }
        'mcpeg;tools;help;help' {
            break
        }
        'mcpeg;call' {
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON, as it is; an object that follows is the arguments')
            [CompletionResult]::new('--upstream', '--upstream', [CompletionResultType]::ParameterName, 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The running gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file')
            [CompletionResult]::new('--token-file', '--token-file', [CompletionResultType]::ParameterName, 'Send the token in this file')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long an answer may take (default: as long as the gateway waits)')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;read' {
            [CompletionResult]::new('--upstream', '--upstream', [CompletionResultType]::ParameterName, 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The running gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file')
            [CompletionResult]::new('--token-file', '--token-file', [CompletionResultType]::ParameterName, 'Send the token in this file')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long an answer may take (default: as long as the gateway waits)')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON, as it is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;prompt' {
            [CompletionResult]::new('--upstream', '--upstream', [CompletionResultType]::ParameterName, 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The running gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file')
            [CompletionResult]::new('--token-file', '--token-file', [CompletionResultType]::ParameterName, 'Send the token in this file')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long an answer may take (default: as long as the gateway waits)')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON, as it is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;ping' {
            [CompletionResult]::new('--upstream', '--upstream', [CompletionResultType]::ParameterName, 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The running gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file')
            [CompletionResult]::new('--token-file', '--token-file', [CompletionResultType]::ParameterName, 'Send the token in this file')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long an answer may take (default: as long as the gateway waits)')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;upstream' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'Tell which upstreams there are, where they are configured, and how they are')
            [CompletionResult]::new('add', 'add', [CompletionResultType]::ParameterValue, 'Add an upstream, and tell what became of it')
            [CompletionResult]::new('remove', 'remove', [CompletionResultType]::ParameterValue, 'Show what is configured of an upstream, and remove it')
            [CompletionResult]::new('test', 'test', [CompletionResultType]::ParameterValue, 'Connect to an upstream and list its tools, or tell why that cannot be done')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'mcpeg;upstream;list' {
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;upstream;add' {
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'It is the MCP server at this address')
            [CompletionResult]::new('--header', '--header', [CompletionResultType]::ParameterName, 'Send this header with each request, "NAME: VALUE"; may be repeated. Secrets are references')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Give the program this variable, NAME=VALUE; may be repeated. Secrets are references')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set this key of its table, KEY=VALUE, where the value is TOML or plain text; may be repeated')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'It is this program; every word that follows is its own')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print what would be written, and write nothing')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;upstream;remove' {
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('-y', '-y', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Show what would go, and change nothing')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;upstream;test' {
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'Try the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file')
            [CompletionResult]::new('--token-file', '--token-file', [CompletionResultType]::ParameterName, 'Send the token in this file')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'How long it may take (default: a minute)')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'Start this MCP server and try it; every word that follows is its own. It has the environment of the caller')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;upstream;help' {
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'Tell which upstreams there are, where they are configured, and how they are')
            [CompletionResult]::new('add', 'add', [CompletionResultType]::ParameterValue, 'Add an upstream, and tell what became of it')
            [CompletionResult]::new('remove', 'remove', [CompletionResultType]::ParameterValue, 'Show what is configured of an upstream, and remove it')
            [CompletionResult]::new('test', 'test', [CompletionResultType]::ParameterValue, 'Connect to an upstream and list its tools, or tell why that cannot be done')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'mcpeg;upstream;help;list' {
            break
        }
        'mcpeg;upstream;help;add' {
            break
        }
        'mcpeg;upstream;help;remove' {
            break
        }
        'mcpeg;upstream;help;test' {
            break
        }
        'mcpeg;upstream;help;help' {
            break
        }
        'mcpeg;logs' {
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'How many of the last lines')
            [CompletionResult]::new('--lines', '--lines', [CompletionResultType]::ParameterName, 'How many of the last lines')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The gateway with this pid file')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration of a gateway that does not run, which says by user as whom it will')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Go on with what is written, also in the next file after a rotation, until Ctrl-C')
            [CompletionResult]::new('--follow', '--follow', [CompletionResultType]::ParameterName, 'Go on with what is written, also in the next file after a rotation, until Ctrl-C')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'mcpeg;status' {
            [CompletionResult]::new('--upstream', '--upstream', [CompletionResultType]::ParameterName, 'With --status: tell of this upstream; may be repeated')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The pid file; lock and control socket live beside it')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Write the log to this file (default: the file of the log section in the configuration)')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'The least severe level to log: error, warn, info, debug, trace')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer of --status, --reload, --log-rotate or --check as JSON')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Development profile: loopback only, readable console log at debug level')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;start' {
            [CompletionResult]::new('--start-timeout', '--start-timeout', [CompletionResultType]::ParameterName, 'How long a process that is started may take to serve (default: 90s; 30s with --restart)')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The pid file; lock and control socket live beside it')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Write the log to this file (default: the file of the log section in the configuration)')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'The least severe level to log: error, warn, info, debug, trace')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Give root up for this user once the listeners are bound')
            [CompletionResult]::new('--group', '--group', [CompletionResultType]::ParameterName, 'The group of that user (default: its own)')
            [CompletionResult]::new('--wait-upstreams', '--wait-upstreams', [CompletionResultType]::ParameterName, 'Be ready only when every upstream can be used, or after this time (default: 30s)')
            [CompletionResult]::new('--ready-fd', '--ready-fd', [CompletionResultType]::ParameterName, 'Write a newline to this open descriptor when the gateway serves, and close it')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Development profile: loopback only, readable console log at debug level')
            [CompletionResult]::new('--outside-systemd', '--outside-systemd', [CompletionResultType]::ParameterName, 'Start as root beside a systemd unit what that unit starts')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;stop' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The pid file; lock and control socket live beside it')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Write the log to this file (default: the file of the log section in the configuration)')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'The least severe level to log: error, warn, info, debug, trace')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'With --stop: kill a gateway that does not end in time')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Development profile: loopback only, readable console log at debug level')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;restart' {
            [CompletionResult]::new('--start-timeout', '--start-timeout', [CompletionResultType]::ParameterName, 'How long a process that is started may take to serve (default: 90s; 30s with --restart)')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The pid file; lock and control socket live beside it')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Write the log to this file (default: the file of the log section in the configuration)')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'The least severe level to log: error, warn, info, debug, trace')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Development profile: loopback only, readable console log at debug level')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;reload' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The pid file; lock and control socket live beside it')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Write the log to this file (default: the file of the log section in the configuration)')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'The least severe level to log: error, warn, info, debug, trace')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer of --status, --reload, --log-rotate or --check as JSON')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Development profile: loopback only, readable console log at debug level')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;check' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The pid file; lock and control socket live beside it')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Write the log to this file (default: the file of the log section in the configuration)')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'The least severe level to log: error, warn, info, debug, trace')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer of --status, --reload, --log-rotate or --check as JSON')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Development profile: loopback only, readable console log at debug level')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;rotate' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file')
            [CompletionResult]::new('--pid-file', '--pid-file', [CompletionResultType]::ParameterName, 'The pid file; lock and control socket live beside it')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'The gateway of this instance, as `mcpeg install --instance` has made it')
            [CompletionResult]::new('--log-file', '--log-file', [CompletionResultType]::ParameterName, 'Write the log to this file (default: the file of the log section in the configuration)')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'The least severe level to log: error, warn, info, debug, trace')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the answer of --status, --reload, --log-rotate or --check as JSON')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Development profile: loopback only, readable console log at debug level')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'mcpeg;help' {
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Install mcpeg as a systemd service on this machine')
            [CompletionResult]::new('uninstall', 'uninstall', [CompletionResultType]::ParameterValue, 'Remove what `mcpeg install` put on this machine')
            [CompletionResult]::new('import', 'import', [CompletionResultType]::ParameterValue, 'Turn a client''s servers into configuration files')
            [CompletionResult]::new('token', 'token', [CompletionResultType]::ParameterValue, 'Make, list, replace and revoke the tokens of clients')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Tell why an upstream cannot be used or was restarted, and what mends it')
            [CompletionResult]::new('login', 'login', [CompletionResultType]::ParameterValue, 'Log in at an upstream that wants it, as its `oauth` says')
            [CompletionResult]::new('logout', 'logout', [CompletionResultType]::ParameterValue, 'Give the tokens of an upstream back')
            [CompletionResult]::new('tools', 'tools', [CompletionResultType]::ParameterValue, 'List the tools of the running gateway or of another MCP server, or tell about one')
            [CompletionResult]::new('call', 'call', [CompletionResultType]::ParameterValue, 'Call a tool')
            [CompletionResult]::new('read', 'read', [CompletionResultType]::ParameterValue, 'Read a resource')
            [CompletionResult]::new('prompt', 'prompt', [CompletionResultType]::ParameterValue, 'Get a prompt')
            [CompletionResult]::new('ping', 'ping', [CompletionResultType]::ParameterValue, 'Tell how fast the gateway or a server answers')
            [CompletionResult]::new('upstream', 'upstream', [CompletionResultType]::ParameterValue, 'List, add, remove and try upstreams')
            [CompletionResult]::new('logs', 'logs', [CompletionResultType]::ParameterValue, 'Show the log, or what an upstream has written to standard error')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Tell whether the gateway runs, and how it is')
            [CompletionResult]::new('start', 'start', [CompletionResultType]::ParameterValue, 'Serve in the background; return when the gateway serves')
            [CompletionResult]::new('stop', 'stop', [CompletionResultType]::ParameterValue, 'Drain the running gateway and stop it')
            [CompletionResult]::new('restart', 'restart', [CompletionResultType]::ParameterValue, 'Replace the running gateway without losing a request; start it if it is stopped')
            [CompletionResult]::new('reload', 'reload', [CompletionResultType]::ParameterValue, 'Read the configuration again; keep the old one if the new one is wrong')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Test the configuration and exit without any effect')
            [CompletionResult]::new('rotate', 'rotate', [CompletionResultType]::ParameterValue, 'Rotate the log file, or reopen it if it was moved')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'mcpeg;help;install' {
            break
        }
        'mcpeg;help;uninstall' {
            break
        }
        'mcpeg;help;import' {
            break
        }
        'mcpeg;help;token' {
            [CompletionResult]::new('create', 'create', [CompletionResultType]::ParameterValue, 'Make a token for a client that has none, and print it')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'Tell which clients have tokens, and until when; no secret is shown')
            [CompletionResult]::new('revoke', 'revoke', [CompletionResultType]::ParameterValue, 'Take all tokens of a client back')
            [CompletionResult]::new('rotate', 'rotate', [CompletionResultType]::ParameterValue, 'Put a new token in the place of those of a client, and print it')
            break
        }
        'mcpeg;help;token;create' {
            break
        }
        'mcpeg;help;token;list' {
            break
        }
        'mcpeg;help;token;revoke' {
            break
        }
        'mcpeg;help;token;rotate' {
            break
        }
        'mcpeg;help;explain' {
            break
        }
        'mcpeg;help;login' {
            break
        }
        'mcpeg;help;logout' {
            break
        }
        'mcpeg;help;tools' {
            [CompletionResult]::new('approve', 'approve', [CompletionResultType]::ParameterValue, 'Show how tools of an upstream with pin differ from what was approved, and approve them')
            break
        }
        'mcpeg;help;tools;approve' {
            break
        }
        'mcpeg;help;call' {
            break
        }
        'mcpeg;help;read' {
            break
        }
        'mcpeg;help;prompt' {
            break
        }
        'mcpeg;help;ping' {
            break
        }
        'mcpeg;help;upstream' {
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'Tell which upstreams there are, where they are configured, and how they are')
            [CompletionResult]::new('add', 'add', [CompletionResultType]::ParameterValue, 'Add an upstream, and tell what became of it')
            [CompletionResult]::new('remove', 'remove', [CompletionResultType]::ParameterValue, 'Show what is configured of an upstream, and remove it')
            [CompletionResult]::new('test', 'test', [CompletionResultType]::ParameterValue, 'Connect to an upstream and list its tools, or tell why that cannot be done')
            break
        }
        'mcpeg;help;upstream;list' {
            break
        }
        'mcpeg;help;upstream;add' {
            break
        }
        'mcpeg;help;upstream;remove' {
            break
        }
        'mcpeg;help;upstream;test' {
            break
        }
        'mcpeg;help;logs' {
            break
        }
        'mcpeg;help;status' {
            break
        }
        'mcpeg;help;start' {
            break
        }
        'mcpeg;help;stop' {
            break
        }
        'mcpeg;help;restart' {
            break
        }
        'mcpeg;help;reload' {
            break
        }
        'mcpeg;help;check' {
            break
        }
        'mcpeg;help;rotate' {
            break
        }
        'mcpeg;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
