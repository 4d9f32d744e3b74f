
use builtin;
use str;

set edit:completion:arg-completer[mcpeg] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'mcpeg'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'mcpeg'= {
            cand --start-timeout 'How long a process that is started may take to serve (default: 90s; 30s with --restart)'
            cand --upstream 'With --status: tell of this upstream; may be repeated'
            cand -c 'The configuration file'
            cand --config 'The configuration file'
            cand --pid-file 'The pid file; lock and control socket live beside it'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --log-file 'Write the log to this file (default: the file of the log section in the configuration)'
            cand --listen 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)'
            cand --log-level 'The least severe level to log: error, warn, info, debug, trace'
            cand --user 'Give root up for this user once the listeners are bound'
            cand --group 'The group of that user (default: its own)'
            cand --wait-upstreams 'Be ready only when every upstream can be used, or after this time (default: 30s)'
            cand --ready-fd 'Write a newline to this open descriptor when the gateway serves, and close it'
            cand --daemon 'Serve in the background; return when the gateway serves'
            cand --stop 'Drain the running gateway and stop it'
            cand --restart 'Replace the running gateway without losing a request; start it if it is stopped'
            cand --reload 'Read the configuration again; keep the old one if the new one is wrong'
            cand --status 'Tell whether the gateway runs, and how it is'
            cand --log-rotate 'Rotate the log file, or reopen it if it was moved'
            cand --check 'Test the configuration and exit without any effect'
            cand --force 'With --stop: kill a gateway that does not end in time'
            cand --json 'Print the answer of --status, --reload, --log-rotate or --check as JSON'
            cand --dev 'Development profile: loopback only, readable console log at debug level'
            cand --outside-systemd 'Start as root beside a systemd unit what that unit starts'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand install 'Install mcpeg as a systemd service on this machine'
            cand uninstall 'Remove what `mcpeg install` put on this machine'
            cand import 'Turn a client''s servers into configuration files'
            cand token 'Make, list, replace and revoke the tokens of clients'
            cand explain 'Tell why an upstream cannot be used or was restarted, and what mends it'
            cand login 'Log in at an upstream that wants it, as its `oauth` says'
            cand logout 'Give the tokens of an upstream back'
            cand tools 'List the tools of the running gateway or of another MCP server, or tell about one'
            cand call 'Call a tool'
            cand read 'Read a resource'
            cand prompt 'Get a prompt'
            cand ping 'Tell how fast the gateway or a server answers'
            cand upstream 'List, add, remove and try upstreams'
            cand logs 'Show the log, or what an upstream has written to standard error'
            cand status 'Tell whether the gateway runs, and how it is'
            cand start 'Serve in the background; return when the gateway serves'
            cand stop 'Drain the running gateway and stop it'
            cand restart 'Replace the running gateway without losing a request; start it if it is stopped'
            cand reload 'Read the configuration again; keep the old one if the new one is wrong'
            cand check 'Test the configuration and exit without any effect'
            cand rotate 'Rotate the log file, or reopen it if it was moved'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'mcpeg;install'= {
            cand --plan 'Print the plan for people or for programs, and change nothing'
            cand --config 'Install this file as the configuration'
            cand --listen 'Have the default configuration listen here: HOST:PORT on loopback or unix:/PATH; may be repeated'
            cand --log-rotation 'Who rotates the log: own is mcpeg (the default); logrotate is logrotate(8), by a file in /etc/logrotate.d'
            cand --user 'Run the service under this account, which is made if it is missing (default: mcpeg)'
            cand --group 'Run the service under this group, which is made if it is missing (default: that of the account)'
            cand --prefix 'Put program, manual and completions below this directory (default: /usr/local)'
            cand --profile 'production: a confined service of the machine. development: a service of the calling user, without root'
            cand --instance 'A gateway beside the first one, with a unit, an account, a configuration and directories of its own'
            cand --root 'Work below this directory instead of /, for image builds; implies --no-start'
            cand --dry-run 'Print the plan and change nothing'
            cand --check 'Tell whether anything has drifted, and change nothing'
            cand --details 'List each change with the lines of edited files, not only what the installation comes to'
            cand -y 'Do not ask for confirmation'
            cand --yes 'Do not ask for confirmation'
            cand --json 'Tell each step, and the result, as one JSON object on a line; implies --yes'
            cand --adopt 'Take the service over from the package that owns it'
            cand --no-start 'Do not start the service'
            cand --no-enable 'Do not start the service at boot'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;uninstall'= {
            cand --profile 'production: a confined service of the machine. development: a service of the calling user, without root'
            cand --instance 'A gateway beside the first one, with a unit, an account, a configuration and directories of its own'
            cand --root 'Work below this directory instead of /, for image builds; implies --no-start'
            cand --purge 'Remove configuration, state and logs too'
            cand --dry-run 'Print the plan and change nothing'
            cand --details 'List each change, not only what the uninstallation comes to'
            cand -y 'Do not ask for confirmation'
            cand --yes 'Do not ask for confirmation'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;import'= {
            cand -c 'The configuration file beside which conf.d lies'
            cand --config 'The configuration file beside which conf.d lies'
            cand --dry-run 'Print what would be written and write nothing'
            cand --force 'Replace files in conf.d that exist'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;token'= {
            cand -h 'Print help'
            cand --help 'Print help'
            cand create 'Make a token for a client that has none, and print it'
            cand list 'Tell which clients have tokens, and until when; no secret is shown'
            cand revoke 'Take all tokens of a client back'
            cand rotate 'Put a new token in the place of those of a client, and print it'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'mcpeg;token;create'= {
            cand --expires 'How long it is good (default: until it is revoked)'
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;token;list'= {
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;token;revoke'= {
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;token;rotate'= {
            cand --expires 'How long the new one is good (default: as long as the last one was)'
            cand --overlap 'How long the old one is good beside it (default: no longer)'
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;token;help'= {
            cand create 'Make a token for a client that has none, and print it'
            cand list 'Tell which clients have tokens, and until when; no secret is shown'
            cand revoke 'Take all tokens of a client back'
            cand rotate 'Put a new token in the place of those of a client, and print it'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'mcpeg;token;help;create'= {
        }
        &'mcpeg;token;help;list'= {
        }
        &'mcpeg;token;help;revoke'= {
        }
        &'mcpeg;token;help;rotate'= {
        }
        &'mcpeg;token;help;help'= {
        }
        &'mcpeg;explain'= {
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;login'= {
            cand --redirect-port 'The port on this machine that the browser comes back to (default: a free one)'
            cand --scope 'Ask for this scope, too, beside those that were granted before; may be repeated'
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --device 'Log in by a code that is typed into a browser anywhere'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;logout'= {
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;tools'= {
            cand --upstream 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration'
            cand --pid-file 'The running gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --url 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file'
            cand --token-file 'Send the token in this file'
            cand --timeout 'How long an answer may take (default: as long as the gateway waits)'
            cand --command 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
            cand approve 'Show how tools of an upstream with pin differ from what was approved, and approve them'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'mcpeg;tools;approve'= {
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand -y 'Do not ask for confirmation'
            cand --yes 'Do not ask for confirmation'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;tools;help'= {
            cand approve 'Show how tools of an upstream with pin differ from what was approved, and approve them'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'mcpeg;tools;help;approve'= {
        }
        &'mcpeg;tools;help;help'= {
        }
        &'mcpeg;call'= {
            cand --json 'Print the result as JSON, as it is; an object that follows is the arguments'
            cand --upstream 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration'
            cand --pid-file 'The running gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --url 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file'
            cand --token-file 'Send the token in this file'
            cand --timeout 'How long an answer may take (default: as long as the gateway waits)'
            cand --command 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;read'= {
            cand --upstream 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration'
            cand --pid-file 'The running gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --url 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file'
            cand --token-file 'Send the token in this file'
            cand --timeout 'How long an answer may take (default: as long as the gateway waits)'
            cand --command 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller'
            cand --json 'Print the result as JSON, as it is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;prompt'= {
            cand --upstream 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration'
            cand --pid-file 'The running gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --url 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file'
            cand --token-file 'Send the token in this file'
            cand --timeout 'How long an answer may take (default: as long as the gateway waits)'
            cand --command 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller'
            cand --json 'Print the result as JSON, as it is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;ping'= {
            cand --upstream 'Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration'
            cand --pid-file 'The running gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --url 'Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file'
            cand --token-file 'Send the token in this file'
            cand --timeout 'How long an answer may take (default: as long as the gateway waits)'
            cand --command 'Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;upstream'= {
            cand -h 'Print help'
            cand --help 'Print help'
            cand list 'Tell which upstreams there are, where they are configured, and how they are'
            cand add 'Add an upstream, and tell what became of it'
            cand remove 'Show what is configured of an upstream, and remove it'
            cand test 'Connect to an upstream and list its tools, or tell why that cannot be done'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'mcpeg;upstream;list'= {
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;upstream;add'= {
            cand --url 'It is the MCP server at this address'
            cand --header 'Send this header with each request, "NAME: VALUE"; may be repeated. Secrets are references'
            cand --env 'Give the program this variable, NAME=VALUE; may be repeated. Secrets are references'
            cand --set 'Set this key of its table, KEY=VALUE, where the value is TOML or plain text; may be repeated'
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --command 'It is this program; every word that follows is its own'
            cand --dry-run 'Print what would be written, and write nothing'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;upstream;remove'= {
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand -y 'Do not ask for confirmation'
            cand --yes 'Do not ask for confirmation'
            cand --dry-run 'Show what would go, and change nothing'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;upstream;test'= {
            cand --url 'Try the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file'
            cand --token-file 'Send the token in this file'
            cand --timeout 'How long it may take (default: a minute)'
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --command 'Start this MCP server and try it; every word that follows is its own. It has the environment of the caller'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;upstream;help'= {
            cand list 'Tell which upstreams there are, where they are configured, and how they are'
            cand add 'Add an upstream, and tell what became of it'
            cand remove 'Show what is configured of an upstream, and remove it'
            cand test 'Connect to an upstream and list its tools, or tell why that cannot be done'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'mcpeg;upstream;help;list'= {
        }
        &'mcpeg;upstream;help;add'= {
        }
        &'mcpeg;upstream;help;remove'= {
        }
        &'mcpeg;upstream;help;test'= {
        }
        &'mcpeg;upstream;help;help'= {
        }
        &'mcpeg;logs'= {
            cand -n 'How many of the last lines'
            cand --lines 'How many of the last lines'
            cand --pid-file 'The gateway with this pid file'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand -c 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand --config 'The configuration of a gateway that does not run, which says by user as whom it will'
            cand -f 'Go on with what is written, also in the next file after a rotation, until Ctrl-C'
            cand --follow 'Go on with what is written, also in the next file after a rotation, until Ctrl-C'
            cand --json 'Print the answer as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'mcpeg;status'= {
            cand --upstream 'With --status: tell of this upstream; may be repeated'
            cand -c 'The configuration file'
            cand --config 'The configuration file'
            cand --pid-file 'The pid file; lock and control socket live beside it'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --log-file 'Write the log to this file (default: the file of the log section in the configuration)'
            cand --listen 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)'
            cand --log-level 'The least severe level to log: error, warn, info, debug, trace'
            cand --json 'Print the answer of --status, --reload, --log-rotate or --check as JSON'
            cand --dev 'Development profile: loopback only, readable console log at debug level'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;start'= {
            cand --start-timeout 'How long a process that is started may take to serve (default: 90s; 30s with --restart)'
            cand -c 'The configuration file'
            cand --config 'The configuration file'
            cand --pid-file 'The pid file; lock and control socket live beside it'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --log-file 'Write the log to this file (default: the file of the log section in the configuration)'
            cand --listen 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)'
            cand --log-level 'The least severe level to log: error, warn, info, debug, trace'
            cand --user 'Give root up for this user once the listeners are bound'
            cand --group 'The group of that user (default: its own)'
            cand --wait-upstreams 'Be ready only when every upstream can be used, or after this time (default: 30s)'
            cand --ready-fd 'Write a newline to this open descriptor when the gateway serves, and close it'
            cand --dev 'Development profile: loopback only, readable console log at debug level'
            cand --outside-systemd 'Start as root beside a systemd unit what that unit starts'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;stop'= {
            cand -c 'The configuration file'
            cand --config 'The configuration file'
            cand --pid-file 'The pid file; lock and control socket live beside it'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --log-file 'Write the log to this file (default: the file of the log section in the configuration)'
            cand --listen 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)'
            cand --log-level 'The least severe level to log: error, warn, info, debug, trace'
            cand --force 'With --stop: kill a gateway that does not end in time'
            cand --dev 'Development profile: loopback only, readable console log at debug level'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;restart'= {
            cand --start-timeout 'How long a process that is started may take to serve (default: 90s; 30s with --restart)'
            cand -c 'The configuration file'
            cand --config 'The configuration file'
            cand --pid-file 'The pid file; lock and control socket live beside it'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --log-file 'Write the log to this file (default: the file of the log section in the configuration)'
            cand --listen 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)'
            cand --log-level 'The least severe level to log: error, warn, info, debug, trace'
            cand --dev 'Development profile: loopback only, readable console log at debug level'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;reload'= {
            cand -c 'The configuration file'
            cand --config 'The configuration file'
            cand --pid-file 'The pid file; lock and control socket live beside it'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --log-file 'Write the log to this file (default: the file of the log section in the configuration)'
            cand --listen 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)'
            cand --log-level 'The least severe level to log: error, warn, info, debug, trace'
            cand --json 'Print the answer of --status, --reload, --log-rotate or --check as JSON'
            cand --dev 'Development profile: loopback only, readable console log at debug level'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;check'= {
            cand -c 'The configuration file'
            cand --config 'The configuration file'
            cand --pid-file 'The pid file; lock and control socket live beside it'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --log-file 'Write the log to this file (default: the file of the log section in the configuration)'
            cand --listen 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)'
            cand --log-level 'The least severe level to log: error, warn, info, debug, trace'
            cand --json 'Print the answer of --status, --reload, --log-rotate or --check as JSON'
            cand --dev 'Development profile: loopback only, readable console log at debug level'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;rotate'= {
            cand -c 'The configuration file'
            cand --config 'The configuration file'
            cand --pid-file 'The pid file; lock and control socket live beside it'
            cand --instance 'The gateway of this instance, as `mcpeg install --instance` has made it'
            cand --log-file 'Write the log to this file (default: the file of the log section in the configuration)'
            cand --listen 'Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080)'
            cand --log-level 'The least severe level to log: error, warn, info, debug, trace'
            cand --json 'Print the answer of --status, --reload, --log-rotate or --check as JSON'
            cand --dev 'Development profile: loopback only, readable console log at debug level'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'mcpeg;help'= {
            cand install 'Install mcpeg as a systemd service on this machine'
            cand uninstall 'Remove what `mcpeg install` put on this machine'
            cand import 'Turn a client''s servers into configuration files'
            cand token 'Make, list, replace and revoke the tokens of clients'
            cand explain 'Tell why an upstream cannot be used or was restarted, and what mends it'
            cand login 'Log in at an upstream that wants it, as its `oauth` says'
            cand logout 'Give the tokens of an upstream back'
            cand tools 'List the tools of the running gateway or of another MCP server, or tell about one'
            cand call 'Call a tool'
            cand read 'Read a resource'
            cand prompt 'Get a prompt'
            cand ping 'Tell how fast the gateway or a server answers'
            cand upstream 'List, add, remove and try upstreams'
            cand logs 'Show the log, or what an upstream has written to standard error'
            cand status 'Tell whether the gateway runs, and how it is'
            cand start 'Serve in the background; return when the gateway serves'
            cand stop 'Drain the running gateway and stop it'
            cand restart 'Replace the running gateway without losing a request; start it if it is stopped'
            cand reload 'Read the configuration again; keep the old one if the new one is wrong'
            cand check 'Test the configuration and exit without any effect'
            cand rotate 'Rotate the log file, or reopen it if it was moved'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'mcpeg;help;install'= {
        }
        &'mcpeg;help;uninstall'= {
        }
        &'mcpeg;help;import'= {
        }
        &'mcpeg;help;token'= {
            cand create 'Make a token for a client that has none, and print it'
            cand list 'Tell which clients have tokens, and until when; no secret is shown'
            cand revoke 'Take all tokens of a client back'
            cand rotate 'Put a new token in the place of those of a client, and print it'
        }
        &'mcpeg;help;token;create'= {
        }
        &'mcpeg;help;token;list'= {
        }
        &'mcpeg;help;token;revoke'= {
        }
        &'mcpeg;help;token;rotate'= {
        }
        &'mcpeg;help;explain'= {
        }
        &'mcpeg;help;login'= {
        }
        &'mcpeg;help;logout'= {
        }
        &'mcpeg;help;tools'= {
            cand approve 'Show how tools of an upstream with pin differ from what was approved, and approve them'
        }
        &'mcpeg;help;tools;approve'= {
        }
        &'mcpeg;help;call'= {
        }
        &'mcpeg;help;read'= {
        }
        &'mcpeg;help;prompt'= {
        }
        &'mcpeg;help;ping'= {
        }
        &'mcpeg;help;upstream'= {
            cand list 'Tell which upstreams there are, where they are configured, and how they are'
            cand add 'Add an upstream, and tell what became of it'
            cand remove 'Show what is configured of an upstream, and remove it'
            cand test 'Connect to an upstream and list its tools, or tell why that cannot be done'
        }
        &'mcpeg;help;upstream;list'= {
        }
        &'mcpeg;help;upstream;add'= {
        }
        &'mcpeg;help;upstream;remove'= {
        }
        &'mcpeg;help;upstream;test'= {
        }
        &'mcpeg;help;logs'= {
        }
        &'mcpeg;help;status'= {
        }
        &'mcpeg;help;start'= {
        }
        &'mcpeg;help;stop'= {
        }
        &'mcpeg;help;restart'= {
        }
        &'mcpeg;help;reload'= {
        }
        &'mcpeg;help;check'= {
        }
        &'mcpeg;help;rotate'= {
        }
        &'mcpeg;help;help'= {
        }
    ]
    $completions[$command]
}
