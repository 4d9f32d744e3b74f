//! The one clap definition: parser, help, manual pages and completions are all made from it.
//!
//! Users' scripts depend on these names. The long help of an option becomes its paragraph in mcpeg(8), so it is
//! written in whole sentences.

#![expect(clippy::doc_markdown, reason = "the comments are help text for terminals, not Markdown")]

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::config::{Overrides, Source};
use crate::install::{self, Asked, LogRotation, Profile};

/// Printed below `mcpeg --help`.
const EXAMPLES: &str = "Examples:
  mcpeg                                serve in the foreground
  mcpeg --dev                          loopback only, readable debug log
  mcpeg check --config ./mcpeg.toml    test a configuration
  mcpeg start                          serve in the background
  mcpeg status --json                  state for scripts (exit 0: it runs)
  mcpeg stop                           drain, then stop
  sudo mcpeg install                   install as a systemd service

Manual: mcpeg(8), mcpeg.toml(5), mcpeg-install(8), mcpeg-uninstall(8)";

/// The MCP gateway that you run like nginx.
///
/// mcpeg serves the Model Context Protocol (MCP) over Streamable HTTP. Behind it, it keeps the organisation's MCP
/// servers (upstreams) running and merges them into one endpoint. Without an action it serves in the foreground.
#[derive(Debug, Parser)]
#[command(name = "mcpeg", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(group = ArgGroup::new("action").multiple(false))]
pub struct Cli {
    /// What to do instead of serving in the foreground.
    #[command(flatten)]
    pub action: ActionFlags,
    /// The options that serving and the actions share.
    #[command(flatten)]
    pub common: Common,
    /// The options of a start alone.
    #[command(flatten)]
    pub start: Start,
    /// Installation and other commands of their own.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The mutually exclusive actions, and what is asked of them.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one flag each, as clap needs them; `ActionFlags::action` makes one enum of them"
)]
#[command(next_help_heading = "Actions")]
pub struct ActionFlags {
    /// Serve in the background; return when the gateway serves.
    ///
    /// The command returns with 0 only after the gateway has answered a request over its own listener. If it
    /// cannot start, its error is printed here and its exit code is returned.
    #[arg(long, group = "action")]
    pub daemon: bool,
    /// Drain the running gateway and stop it.
    ///
    /// The command returns when the process has ended. It has systemd stop the main process of a systemd unit. A gateway
    /// that does not end within its drain time-out is left alone (exit code 75).
    #[arg(long, group = "action")]
    pub stop: bool,
    /// Replace the running gateway without losing a request; start it if it is stopped.
    ///
    /// A new process of the executable takes over listeners and sessions; the old one finishes the requests in flight.
    /// If the new one cannot serve, the old one serves on, and this command ends with the new one's error and exit
    /// code. If no gateway runs, one is started: by systemd if the pid file is that of a unit, else as a daemon.
    #[arg(long, group = "action")]
    pub restart: bool,
    /// Read the configuration again; keep the old one if the new one is wrong.
    ///
    /// The command returns when the new configuration is in force and prints what it changed, or when it was refused,
    /// with the reason and the exit code that a start with it would have. Only upstreams and listeners that differ
    /// are touched; the others' sessions and requests in flight go on. Exit code 3: no gateway runs.
    #[arg(long, group = "action")]
    pub reload: bool,
    /// Tell whether the gateway runs, and how it is.
    ///
    /// Exit codes follow the LSB: 0 running, 1 dead with a pid file left behind, 3 stopped, 4 unknown.
    #[arg(long, group = "action")]
    pub status: bool,
    /// Rotate the log file, or reopen it if it was moved.
    ///
    /// The command returns when the new file is in use, and prints the names of the old and the new one. With
    /// rotate = "external" in the configuration, for logrotate(8), the file is only opened again. If the control
    /// socket does not answer, the process is sent SIGUSR1, which means the same. Exit code 3: no gateway runs.
    #[arg(long, group = "action")]
    pub log_rotate: bool,
    /// Test the configuration and exit without any effect.
    ///
    /// The configuration of an installed service is checked as systemd would run the service: by its user, with its
    /// environment and credentials, within its sandbox. That needs root; otherwise, and for any other file, it is checked as
    /// the caller sees it. The answer says whose view it is. Exit code 78: the gateway would not start.
    #[arg(long, group = "action")]
    pub check: bool,
    /// With --stop: kill a gateway that does not end in time.
    #[arg(long, requires = "stop")]
    pub force: bool,
    /// How long a process that is started may take to serve (default: 90s; 30s with --restart).
    ///
    /// A process that takes longer is ended.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub start_timeout: Option<std::time::Duration>,
    /// With --status: tell of this upstream; may be repeated.
    ///
    /// The exit code is 0 if every one that is named can be used, 3 if one cannot, and 64 if there is none of that
    /// name; the answer of --json is that of --status, with these upstreams only.
    #[arg(long, value_name = "NAME", requires = "status")]
    pub upstream: Vec<String>,
    /// Print the answer of --status, --reload, --log-rotate or --check as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The actions as one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve in the foreground.
    Foreground,
    /// Serve in the background.
    Daemon,
    /// Drain and stop.
    Stop,
    /// Upgrade or start.
    Restart,
    /// Read the configuration again.
    Reload,
    /// Report the state.
    Status,
    /// Rotate or reopen log files.
    LogRotate,
    /// Test the configuration.
    Check,
}

/// Options with an environment variable each; the command line wins over the environment, and both over the file.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options")]
pub struct Common {
    /// The configuration file.
    ///
    /// Default: /etc/mcpeg/mcpeg.toml for root, $XDG_CONFIG_HOME/mcpeg/mcpeg.toml (or ~/.config/mcpeg/mcpeg.toml)
    /// for other users. If the default file does not exist, mcpeg serves its built-in upstream; a file that is
    /// named here must exist.
    #[arg(long, short = 'c', value_name = "FILE", env = "MCPEG_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The pid file; lock and control socket live beside it.
    ///
    /// Default: $RUNTIME_DIRECTORY/mcpeg.pid under systemd, /run/mcpeg/mcpeg.pid for root,
    /// $XDG_RUNTIME_DIR/mcpeg/mcpeg.pid for other users.
    #[arg(long, value_name = "FILE", env = "MCPEG_PID_FILE", value_hint = ValueHint::FilePath)]
    pub pid_file: Option<PathBuf>,
    /// The gateway of this instance, as `mcpeg install --instance` has made it.
    ///
    /// Configuration and pid file are then those of the instance: /etc/mcpeg-NAME/mcpeg.toml and
    /// /run/mcpeg-NAME/mcpeg.pid.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "pid_file"], value_parser = instance)]
    pub instance: Option<String>,
    /// Write the log to this file (default: the file of the log section in the configuration).
    ///
    /// With --daemon and without either it is /var/log/mcpeg/mcpeg.log for root, $XDG_STATE_HOME/mcpeg/mcpeg.log (or
    /// ~/.local/state/mcpeg/mcpeg.log) for other users; in the foreground there is none.
    #[arg(long, value_name = "FILE", env = "MCPEG_LOG_FILE", value_hint = ValueHint::FilePath)]
    pub log_file: Option<PathBuf>,
    /// Listen here: HOST:PORT or unix:/PATH; may be repeated (default: 127.0.0.1:8080).
    #[arg(long, value_name = "ADDR", env = "MCPEG_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// The least severe level to log: error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL", env = "MCPEG_LOG_LEVEL", value_enum, hide_possible_values = true)]
    pub log_level: Option<Level>,
    /// Development profile: loopback only, readable console log at debug level.
    #[arg(long, env = "MCPEG_DEV", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub dev: bool,
}

/// What is only for a start, in the foreground or as a daemon.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options")]
pub struct Start {
    /// Give root up for this user once the listeners are bound.
    ///
    /// Only for a gateway that root starts: it binds its listeners, so that ports below 1024 are possible, then becomes
    /// this user for good, with the user's groups and home directory and without any capability. The user must be able to
    /// read the configuration and, unless it is the default one, to write into the directory of the pid file. Reloads
    /// and upgrades are done as this user: a new port below 1024 needs a stop and a start. Default: `user` in the
    /// configuration, or else the user who starts mcpeg.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Username, conflicts_with_all = NOT_A_START)]
    pub user: Option<String>,
    /// The group of that user (default: its own).
    #[arg(long, value_name = "NAME", requires = "user", conflicts_with_all = NOT_A_START)]
    pub group: Option<String>,
    /// Start as root beside a systemd unit what that unit starts.
    ///
    /// Without this option, root does not start a gateway with the configuration of an installed service: its log, lock and
    /// pid file would be root's, and the service could not start any more. `systemctl start` is the way.
    #[arg(long, conflicts_with_all = NOT_A_START)]
    pub outside_systemd: bool,
    /// Be ready only when every upstream can be used, or after this time (default: 30s).
    ///
    /// The gateway serves meanwhile. With --daemon, one that cannot be used by then makes the exit code 69; the gateway
    /// serves on without it. In the foreground, systemd and --ready-fd are told then.
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30s",
        value_parser = humantime::parse_duration,
        conflicts_with_all = NOT_A_START
    )]
    pub wait_upstreams: Option<std::time::Duration>,
    /// Write a newline to this open descriptor when the gateway serves, and close it.
    ///
    /// For supervisors that wait at a pipe, such as s6 (notification-fd) and dinit (ready-notification = pipefd:N). If
    /// the gateway fails, it is closed without a newline. No child of the gateway has it. It is 3 or more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..), conflicts_with_all = NOT_A_START)]
    pub ready_fd: Option<i32>,
}

/// The actions that start nothing by themselves.
const NOT_A_START: [&str; 6] = ["stop", "restart", "reload", "status", "log_rotate", "check"];

/// Log levels, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Something failed and needs a person.
    Error,
    /// Something is wrong but mcpeg goes on.
    Warn,
    /// Life-cycle events.
    Info,
    /// What each part decides.
    Debug,
    /// Each message.
    Trace,
}

/// Commands that are not about the process of a running gateway.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install mcpeg as a systemd service on this machine.
    Install(InstallArgs),
    /// Remove what `mcpeg install` put on this machine.
    Uninstall(UninstallArgs),
    /// Turn a client's servers into configuration files.
    Import(ImportArgs),
    /// Make, list, replace and revoke the tokens of clients.
    Token(TokenArgs),
    /// Tell why an upstream cannot be used or was restarted, and what mends it.
    Explain(ExplainArgs),
    /// Log in at an upstream that wants it, as its `oauth` says.
    Login(LoginArgs),
    /// Give the tokens of an upstream back.
    Logout(LogoutArgs),
    /// List the tools of the running gateway or of another MCP server, or tell about one.
    Tools(ToolsArgs),
    /// Call a tool.
    Call(CallArgs),
    /// Read a resource.
    Read(ReadArgs),
    /// Get a prompt.
    Prompt(PromptArgs),
    /// Tell how fast the gateway or a server answers.
    Ping(PingArgs),
    /// Write the files that packages and the repository ship.
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Tell the scripts of packages who owns the service, and give it to a package.
    #[command(hide = true)]
    Ownership(OwnershipArgs),
    /// Answer the completion scripts of the shells.
    #[command(hide = true)]
    Complete(CompleteArgs),
}

/// `mcpeg install`.
///
/// Every change is written to a receipt before it is made, and undone if a later one fails.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one flag each, as clap needs them")]
#[command(after_help = "Examples:
  mcpeg install --dry-run       show what would be done; needs no root
  sudo mcpeg install            install, start, and check with a real request
  sudo mcpeg install --yes      the same without a question, for scripts
  mcpeg install --check         has anything drifted? (exit code 1: yes)
  sudo mcpeg install --instance two --listen 127.0.0.1:8081
  mcpeg install --profile development")]
pub struct InstallArgs {
    /// Print the plan and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the plan for people or for programs, and change nothing.
    #[arg(long, value_name = "FORMAT", value_enum, conflicts_with = "dry_run")]
    pub plan: Option<PlanFormat>,
    /// Tell whether anything has drifted, and change nothing.
    ///
    /// Exit code 0: everything is as an installation with these options would make it. Exit code 1: the plan, which is
    /// printed, has something to do. Exit code 78: the service would not start with its configuration.
    #[arg(long, conflicts_with_all = ["dry_run", "plan"])]
    pub check: bool,
    /// List each change with the lines of edited files, not only what the installation comes to.
    #[arg(long)]
    pub details: bool,
    /// Do not ask for confirmation.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Tell each step, and the result, as one JSON object on a line; implies --yes.
    #[arg(long)]
    pub json: bool,
    /// Take the service over from the package that owns it.
    ///
    /// Configuration, state and sessions stay, and no request is lost. The package stays installed beside the installation
    /// and leaves it alone from then on; remove it with apt or dnf when you like.
    #[arg(long)]
    pub adopt: bool,
    /// Do not start the service.
    #[arg(long)]
    pub no_start: bool,
    /// Do not start the service at boot.
    #[arg(long)]
    pub no_enable: bool,
    /// Install this file as the configuration.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "listen")]
    pub config: Option<PathBuf>,
    /// Have the default configuration listen here: HOST:PORT on loopback or unix:/PATH; may be repeated.
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Who rotates the log: own is mcpeg (the default); logrotate is logrotate(8), by a file in /etc/logrotate.d.
    ///
    /// With logrotate, the new configuration has rotate = "external". An edited configuration must say so before.
    #[arg(long, value_name = "WHO", value_enum, hide_possible_values = true)]
    pub log_rotation: Option<RotationName>,
    /// Run the service under this account, which is made if it is missing (default: mcpeg).
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Username)]
    pub user: Option<String>,
    /// Run the service under this group, which is made if it is missing (default: that of the account).
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Put program, manual and completions below this directory (default: /usr/local).
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub prefix: Option<PathBuf>,
    /// Which service, below which root.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Which installation a command is about.
#[derive(Args, Debug)]
pub struct PlaceArgs {
    /// production: a confined service of the machine. development: a service of the calling user, without root.
    ///
    /// The development service runs under the user's own systemd (systemctl --user), listens on loopback only, logs
    /// readably at debug level into the journal, and follows changes of its configuration by itself.
    #[arg(
        long,
        value_name = "PROFILE",
        value_enum,
        default_value = "production",
        hide_possible_values = true
    )]
    pub profile: ProfileName,
    /// A gateway beside the first one, with a unit, an account, a configuration and directories of its own.
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Work below this directory instead of /, for image builds; implies --no-start.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub root: Option<PathBuf>,
}

/// The forms of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The kinds of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileName {
    /// A confined service of the machine.
    Production,
    /// A service of the calling user.
    Development,
}

/// Who rotates the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RotationName {
    /// mcpeg itself.
    Own,
    /// logrotate(8).
    Logrotate,
}

/// `mcpeg uninstall`.
///
/// Only files that are as `mcpeg install` wrote them are removed; others are kept and named.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one flag each, as clap needs them")]
#[command(after_help = "Examples:
  sudo mcpeg uninstall            remove mcpeg, keep configuration, state and logs
  sudo mcpeg uninstall --purge    remove those too")]
pub struct UninstallArgs {
    /// Remove configuration, state and logs too.
    #[arg(long)]
    pub purge: bool,
    /// Print the plan and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// List each change, not only what the uninstallation comes to.
    #[arg(long)]
    pub details: bool,
    /// Do not ask for confirmation.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Which service, below which root.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `mcpeg import`.
///
/// Each server becomes one file in conf.d. Values that look like secrets are replaced by ${env:NAME}, and the
/// names are printed. It reads the files of Claude, Cursor, Windsurf, Cline, Gemini, VS Code, Zed, Codex (TOML),
/// opencode, Goose and Continue (YAML). A server that cannot be imported is named with the reason, and the others are
/// written; the exit code is then 78.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg import ~/.config/Claude/claude_desktop_config.json
  mcpeg import .mcp.json --dry-run
  mcpeg import ~/.codex/config.toml")]
pub struct ImportArgs {
    /// The client's file: JSON with or without comments, TOML or YAML.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The configuration file beside which conf.d lies.
    #[arg(long, short = 'c', value_name = "FILE", env = "MCPEG_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print what would be written and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Replace files in conf.d that exist.
    #[arg(long)]
    pub force: bool,
}

/// `mcpeg token`.
///
/// A token proves that a request is of a client of the configuration. It is shown once, when it is made; what is kept of it,
/// in the state directory of the gateway, is a keyed digest. A gateway that runs takes each change up within a second, and
/// ends what a client has open whose last token is gone.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg token create backup --expires 90d   make the token of [clients.backup]
  mcpeg token list                          who has one, and until when
  mcpeg token rotate backup --overlap 1h    replace it; the old one is good for an hour
  mcpeg token revoke backup                 take it back")]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub act: TokenAct,
}

/// What `mcpeg token` does.
#[derive(Debug, Subcommand)]
pub enum TokenAct {
    /// Make a token for a client that has none, and print it.
    Create {
        /// The client, as in [clients.NAME].
        #[arg(value_name = "NAME")]
        name: String,
        /// How long it is good (default: until it is revoked).
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<std::time::Duration>,
        /// Of which gateway.
        #[command(flatten)]
        place: TokenPlace,
    },
    /// Tell which clients have tokens, and until when; no secret is shown.
    List {
        /// Of which gateway.
        #[command(flatten)]
        place: TokenPlace,
    },
    /// Take all tokens of a client back.
    Revoke {
        /// The client.
        #[arg(value_name = "NAME")]
        name: String,
        /// Of which gateway.
        #[command(flatten)]
        place: TokenPlace,
    },
    /// Put a new token in the place of those of a client, and print it.
    Rotate {
        /// The client.
        #[arg(value_name = "NAME")]
        name: String,
        /// How long the new one is good (default: as long as the last one was).
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<std::time::Duration>,
        /// How long the old one is good beside it (default: no longer).
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        overlap: Option<std::time::Duration>,
        /// Of which gateway.
        #[command(flatten)]
        place: TokenPlace,
    },
}

/// What `mcpeg tools` does beside.
#[derive(Debug, Subcommand)]
pub enum ToolsAct {
    /// Show how tools of an upstream with pin differ from what was approved, and approve them.
    ///
    /// A gateway that runs takes it up within a second, and tells its clients that the list has changed. What is approved is what
    /// was shown: a tool that has changed again meanwhile is refused (exit code 75).
    Approve {
        /// The upstream, as in [upstreams.NAME].
        #[arg(value_name = "NAME")]
        upstream: String,
        /// Tools, by the names that the server gives them (default: all that differ).
        #[arg(value_name = "TOOL")]
        tools: Vec<String>,
        /// Do not ask for confirmation.
        #[arg(long, short = 'y')]
        yes: bool,
        /// Of which gateway.
        #[command(flatten)]
        place: TokenPlace,
    },
}

/// `mcpeg login`.
///
/// A person logs in at the authorization server of an upstream whose table has `oauth`, with a browser on any machine. What
/// the server grants is kept in the state directory of the gateway, which takes it up within a second and renews it from then
/// on. No reload is needed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg login docs                         print an address, and wait for the browser to come back
  mcpeg login docs --device                print a code, to be typed into a browser anywhere
  mcpeg login docs --redirect-port 8765    come back to this port (for ssh -L 8765:127.0.0.1:8765)
  mcpeg login docs --scope files:write     ask for this, too

If the browser is on another machine, it ends at an address that begins with http://127.0.0.1 and does not open:
paste that address at the prompt.

Exit codes: 0 logged in, 69 a server cannot be reached, 77 refused, 78 the configuration is wrong or a server cannot be
trusted.")]
pub struct LoginArgs {
    /// The upstream, as in [upstreams.NAME].
    #[arg(value_name = "NAME")]
    pub upstream: String,
    /// Log in by a code that is typed into a browser anywhere.
    #[arg(long, conflicts_with = "redirect_port")]
    pub device: bool,
    /// The port on this machine that the browser comes back to (default: a free one).
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub redirect_port: Option<u16>,
    /// Ask for this scope, too, beside those that were granted before; may be repeated.
    #[arg(long, value_name = "SCOPE", value_delimiter = ' ')]
    pub scope: Vec<String>,
    /// Of which gateway.
    #[command(flatten)]
    pub place: TokenPlace,
}

/// `mcpeg logout`.
///
/// The authorization server is told that the tokens are not needed any more, where it wants to know, and the login is removed
/// from the state directory. The gateway shows the upstream nothing more within a second.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg logout docs           give the tokens back and forget them
  mcpeg logout docs --json    the same, for scripts")]
pub struct LogoutArgs {
    /// The upstream, as in [upstreams.NAME].
    #[arg(value_name = "NAME")]
    pub upstream: String,
    /// Of which gateway.
    #[command(flatten)]
    pub place: TokenPlace,
}

/// Which gateway `mcpeg token`, `mcpeg login`, `mcpeg explain` and others are about.
#[derive(Args, Debug)]
pub struct TokenPlace {
    /// The gateway with this pid file.
    #[arg(long, value_name = "FILE", env = "MCPEG_PID_FILE", value_hint = ValueHint::FilePath)]
    pub pid_file: Option<PathBuf>,
    /// The gateway of this instance, as `mcpeg install --instance` has made it.
    #[arg(long, value_name = "NAME", conflicts_with = "pid_file", value_parser = instance)]
    pub instance: Option<String>,
    /// The configuration of a gateway that does not run, which says by user as whom it will.
    #[arg(long, short = 'c', value_name = "FILE", env = "MCPEG_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `mcpeg explain`.
///
/// It tells the cause, what mends it, and what the upstream's command has written last to standard error. Exit codes: 0 if
/// the upstream can be used, 3 if it cannot, 64 if there is none of that name.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg explain time
  sudo mcpeg explain time --json")]
pub struct ExplainArgs {
    /// The upstream.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Of which gateway.
    #[command(flatten)]
    pub place: TokenPlace,
}

/// `mcpeg tools`.
///
/// Names are those that clients see at /mcp, or with --upstream those of the upstream itself.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  mcpeg tools                              those of the running gateway
  mcpeg tools time_convert_time            what one does and takes
  mcpeg tools --upstream time --json       those of one upstream, for scripts
  mcpeg tools approve git                  how those of [upstreams.git] differ from what was approved
  mcpeg tools --command npx -y @modelcontextprotocol/server-everything")]
pub struct ToolsArgs {
    /// What else to do.
    #[command(subcommand)]
    pub act: Option<ToolsAct>,
    /// Tell about this tool.
    #[arg(value_name = "TOOL")]
    pub name: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub asked: AskedArgs,
}

/// `mcpeg call`.
///
/// Arguments are typed as the tool's schema says: numbers, true and false, JSON for objects; a list is given value by value.
/// What the tool asks a person is asked at the terminal; elsewhere it is told that nobody can be asked. Images, sound and
/// other bytes are saved to files in the working directory, whose names are printed. Exit codes: 0; 1 if the tool reports an
/// error; 64 if there is no such tool or argument; 69 if there is no answer.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg call time_get_current_time timezone=Europe/Berlin
  mcpeg call search query='a b' limit=5 tags=x tags=y
  mcpeg call search --json '{\"query\": \"a b\"}'    JSON in and out
  mcpeg call echo message=hi --url https://mcp.example.org/mcp --token-file token
  mcpeg call echo message=hi --command ./server.py --verbose")]
pub struct CallArgs {
    /// The tool, and its arguments: KEY=VALUE, or one JSON object.
    #[arg(value_name = "TOOL [KEY=VALUE]", required = true)]
    pub words: Vec<String>,
    /// Print the result as JSON, as it is; an object that follows is the arguments.
    #[arg(long, value_name = "OBJECT", num_args = 0..=1)]
    pub json: Option<Option<String>>,
    /// Whom to ask.
    #[command(flatten)]
    pub asked: AskedArgs,
}

/// `mcpeg read`.
///
/// Text and bytes go to standard output as they are; on a terminal, bytes are saved to a file.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg read file:///srv/notes/today.md
  mcpeg read demo://logo --upstream docs >logo.png")]
pub struct ReadArgs {
    /// The resource.
    #[arg(value_name = "URI")]
    pub uri: String,
    /// Print the result as JSON, as it is.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub asked: AskedArgs,
}

/// `mcpeg prompt`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg prompt review file=src/main.rs")]
pub struct PromptArgs {
    /// The prompt.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its arguments.
    #[arg(value_name = "KEY=VALUE")]
    pub words: Vec<String>,
    /// Print the result as JSON, as it is.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub asked: AskedArgs,
}

/// `mcpeg ping`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mcpeg ping
  mcpeg ping --upstream time
  mcpeg ping --url https://mcp.example.org/mcp")]
pub struct PingArgs {
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub asked: AskedArgs,
}

/// Whom `mcpeg tools`, `call`, `read`, `prompt` and `ping` ask: the running gateway, unless another server is named.
#[derive(Args, Debug)]
pub struct AskedArgs {
    /// Ask at /mcp/NAME: an upstream under its own names, or an endpoint of the configuration.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "command"])]
    pub upstream: Option<String>,
    /// The running gateway with this pid file.
    #[arg(long, value_name = "FILE", env = "MCPEG_PID_FILE", value_hint = ValueHint::FilePath)]
    pub pid_file: Option<PathBuf>,
    /// The gateway of this instance, as `mcpeg install --instance` has made it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["pid_file", "url", "command"], value_parser = instance)]
    pub instance: Option<String>,
    /// Ask the MCP server at this address; a token for it is in MCPEG_TOKEN or --token-file.
    #[arg(long, value_name = "URL", conflicts_with = "command", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// Send the token in this file.
    #[arg(long, value_name = "FILE", requires = "url", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// How long an answer may take (default: as long as the gateway waits).
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<std::time::Duration>,
    /// Start this MCP server and ask it; every word that follows is its own. It has the environment of the caller.
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = true, value_hint = ValueHint::CommandName)]
    pub command: Vec<String>,
}

/// `mcpeg ownership`: for the scripts of packages.
#[derive(Args, Debug)]
pub struct OwnershipArgs {
    /// What happens to the package.
    #[arg(value_enum)]
    pub event: OwnershipEvent,
    /// With package-install: exchange no process.
    #[arg(long)]
    pub no_restart: bool,
    /// Only print what would happen.
    #[arg(long)]
    pub dry_run: bool,
    /// Work below this directory instead of /.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub root: Option<PathBuf>,
}

/// What happens to a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OwnershipEvent {
    /// It is installed where none of its format was.
    PackageInstall,
    /// It is upgraded or installed again.
    PackageUpgrade,
    /// It is removed.
    PackageRemove,
    /// What it left is purged.
    PackagePurge,
    /// Nothing: the whole table is printed.
    Table,
}

/// `mcpeg complete`: what can stand at the cursor.
#[derive(Args, Debug)]
pub struct CompleteArgs {
    /// The words of the command line after the program, up to the cursor.
    #[arg(value_name = "WORD", last = true)]
    pub words: Vec<std::ffi::OsString>,
}

/// `mcpeg generate`: the repository's generated files.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// What to write.
    #[arg(value_enum)]
    pub what: Generated,
    /// Whom units are for.
    #[arg(long = "for", value_enum, value_name = "WHOM", default_value = "deb")]
    pub whom: Whom,
    /// The directory to write into.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// The kinds of generated files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// Manual pages.
    Man,
    /// Completion scripts: those that a person wrote, and those that are generated.
    Completions,
    /// Units, account, modes, configuration, its commented reference, and the example for logrotate.
    Units,
}

/// Who ships generated units, which decides where the binary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Whom {
    /// The Debian package.
    Deb,
    /// The RPM package.
    Rpm,
    /// The tarball, and `mcpeg install`.
    Local,
}

impl PlaceArgs {
    /// Which installation it is.
    pub(crate) fn asked(&self) -> Asked {
        let profile = match self.profile {
            ProfileName::Production => Profile::Production,
            ProfileName::Development => Profile::Development,
        };
        Asked { profile, instance: self.instance.clone(), ..Asked::default() }
    }
}

impl InstallArgs {
    /// What the options ask for.
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            prefix: self.prefix.clone(),
            user: self.user.clone(),
            group: self.group.clone(),
            listen: self.listen.clone(),
            no_enable: self.no_enable,
            log_rotation: self.log_rotation.map(|name| match name {
                RotationName::Own => LogRotation::Own,
                RotationName::Logrotate => LogRotation::Logrotate,
            }),
            adopt: self.adopt,
            ..self.place.asked()
        }
    }
}

/// The name of an instance.
fn instance(name: &str) -> Result<String, install::Error> {
    install::check_instance(name).map(|()| name.to_owned())
}

impl Common {
    /// The same with the configuration and the pid file of the instance that is named: that of the machine, or, where the
    /// user has one of the name, the user's.
    pub fn settle(&mut self) {
        let Some(name) = &self.instance else { return };
        let [config, pid_file] = install::places_of(name);
        (self.config, self.pid_file) = (Some(config), Some(pid_file));
    }

    /// Where the configuration comes from, and what these options say instead of it.
    #[must_use]
    pub fn source(&self) -> Source {
        Source {
            file: self.config.clone(),
            overrides: Overrides {
                listen: self.listen.clone(),
                log_file: self.log_file.clone(),
                default_log_file: None,
                log_level: self.log_level.map(|level| level.directives().to_owned()),
                dev: self.dev,
            },
        }
    }
}

impl Level {
    /// The filter for this level. Below info, libraries stay at info: their debug output is long, and shows headers.
    #[must_use]
    pub const fn directives(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "info,mcpeg=debug",
            Self::Trace => "info,mcpeg=trace",
        }
    }
}

impl Action {
    /// Whether it detaches, or is about a process that has to be proved before it is signalled.
    #[must_use]
    pub const fn needs_linux(self) -> bool {
        matches!(self, Self::Daemon | Self::Stop | Self::Restart)
    }
}

impl ActionFlags {
    /// The one action that was asked for; clap has refused more than one.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self { daemon: true, .. } => Action::Daemon,
            Self { stop: true, .. } => Action::Stop,
            Self { restart: true, .. } => Action::Restart,
            Self { reload: true, .. } => Action::Reload,
            Self { status: true, .. } => Action::Status,
            Self { log_rotate: true, .. } => Action::LogRotate,
            Self { check: true, .. } => Action::Check,
            _ => Action::Foreground,
        }
    }
}
