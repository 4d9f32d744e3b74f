//! What mends an upstream that cannot be used, by what is known of why.
//!
//! The causes are told by whoever has met them: the kernel, a server, the gateway itself. Here is what they mean for whoever has to
//! mend them, for `mcpeg explain`, `--status`, `/health` and `/status`.

/// What says that something is wrong, in lower case, and what mends it. The first that is found counts.
const MENDS: [(&str, &str); 37] = [
    (
        "is in none of the directories",
        "write the whole path of the program as `command`, or give it a PATH by `env`",
    ),
    ("its interpreter", "install the interpreter, or change the first line of the program"),
    ("is not executable", "`chmod +x` makes it executable"),
    ("exec format error", "the file is no program of this machine; name its interpreter as `command`"),
    ("is no directory", "make the directory, or change `working_dir`"),
    ("there is no user", "make the account, or change `user`"),
    ("runs as root can start it", "remove `user`, or start the gateway as root"),
    ("lets no program run", "`sudo mcpeg install` makes a unit that does"),
    ("read-only file system", "let the service write there: ReadWritePaths= by `systemctl edit mcpeg`"),
    ("no space left", "free space on the disk that it writes to"),
    ("modulenotfounderror", "install the module where this interpreter finds it"),
    ("cannot find module", "install the package, or change `args`"),
    ("command not found", "write the whole path of that program"),
    // As shells and env(1) have it.
    (
        "exit code 127",
        "a program that it starts is missing: install it, or give its directory in PATH by `env`",
    ),
    ("address already in use", "another process has its port; have the server use another one"),
    ("permission denied", "let the user that it runs as have access: `namei -l PATH` shows who has"),
    ("sigsys", "the unit forbids a system call that it makes: SystemCallFilter= by `systemctl edit mcpeg`"),
    (
        "sigkill",
        "the kernel may have been out of memory (`journalctl -k --grep oom`), or somebody has killed it",
    ),
    ("sigsegv", "it has crashed, which is a bug of the server; try another version"),
    ("sigabrt", "it has given up, which is a bug of the server or a limit such as `memory_max`"),
    (
        "what is not mcp: ",
        "standard output is for MCP only; have it log to standard error, or use `url` if it is a server by HTTP",
    ),
    ("was not ready within", "run it by hand to see what it waits for, or raise `start_timeout`"),
    ("connection refused", "nothing listens at that address; start the server, or change `url`"),
    ("dns error", "no such host; change `url`, or mend the name service"),
    ("network is unreachable", "the machine, or the unit by IPAddressDeny=, does not let it go there"),
    (
        "operation not permitted",
        "the unit forbids it, by IPAddressDeny= or another rule: `systemctl cat mcpeg`",
    ),
    ("invalidcontenttype", "the server speaks no TLS; write `http://` in `url`"),
    ("unknownissuer", "name the authority that has signed its certificate: `ca_file`"),
    ("not valid for name", "the certificate is for another name; write that one in `url`"),
    ("certificate", "mend the server's certificate, or name its authority by `ca_file`"),
    ("status 401", "it needs a login or a token: `headers = { Authorization = \"Bearer ${env:TOKEN}\" }`"),
    ("status 403", "the credentials that it is given may not use it; change `headers`"),
    ("status 404", "the path of `url` is wrong; it often ends with /mcp"),
    ("a redirect", "write the address that it leads to as `url`"),
    ("status 5", "the server itself fails; its own log tells why"),
    ("not mcp", "the address leads to something else, such as a page to sign in; change `url`"),
    ("exit code 0", "it ends by itself; is it a server, and has it all arguments?"),
];

/// What mends an upstream of which this is wrong, and whose command has written this last; `None` where that is not known.
pub(super) fn mend(error: Option<&str>, lines: &[String]) -> Option<&'static str> {
    let said = lines.iter().fold(error?.to_owned(), |all, line| all + "\n" + line).to_lowercase();
    let known = MENDS.iter().find(|(sign, _)| said.contains(sign)).map(|(_, mend)| *mend);
    known.or_else(|| {
        said.contains("exit code").then_some("what it has written to standard error says why; run it by hand")
    })
}
