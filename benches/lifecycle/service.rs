//! The three as services of a booted systemd: `systemctl restart` and SIGKILL of the main process under `Restart=always`,
//! each many times under load. Needs root, since the machine is one of `scripts/testbed`.
//!
//! nginx and `HAProxy` are this machine's, which the booted one sees below /host; so it is of the same Debian release.
//! Their units are those of Debian, but for the restart.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::load::{Kind, Load, Report};
use crate::machine::Machine;
use crate::{CLIENTS, Program};

/// Restarts, and kills.
const TIMES: usize = 20;
/// How long a new main process may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What every unit has, so that it is started again at once and as often as need be.
const AGAIN: &str = "Restart=always\nRestartSec=100ms\n";
/// Where programs of this machine find their libraries over there.
const LIBRARIES: &str = "Environment=LD_LIBRARY_PATH=/host/lib/x86_64-linux-gnu\n";

/// The machine, with all three services running; `None` if there can be none.
pub(crate) struct Services(Machine);

impl Services {
    /// Boots it.
    pub(crate) fn boot() -> Option<Self> {
        let suite = match std::fs::read_to_string("/etc/debian_version").ok()?.split('.').next()? {
            "12" => "bookworm",
            "13" => "trixie",
            _ => return None,
        };
        if !nix::unistd::Uid::effective().is_root() {
            return None;
        }
        let machine = Machine::boot_with(suite, &[(Path::new("/usr"), "/host")]);
        machine.copy_in(Program::Mcpeg.executable(), "/root/mcpeg");
        machine.ok(&["/root/mcpeg", "install", "--yes", "--listen", "127.0.0.1:8081"]);
        machine.ok(&["mkdir", "-p", "/etc/systemd/system/mcpeg.service.d"]);
        let drop_in = format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\n{AGAIN}");
        machine.write("/etc/systemd/system/mcpeg.service.d/often.conf", &drop_in);
        for program in [Program::Nginx, Program::Haproxy].into_iter().filter(|program| program.is_present()) {
            let (name, unit, configuration) = description(program);
            machine.write(&format!("/etc/{name}.conf"), &configuration);
            machine.write(&format!("/etc/systemd/system/{name}.service"), &unit);
        }
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["systemctl", "restart", "mcpeg"]);
        Some(Self(machine))
    }

    /// Restarts the service of a program again and again; what failed.
    pub(crate) fn restarts(&self, program: Program) -> String {
        let report = self.under_load(program, |name, _| drop(self.0.ok(&["systemctl", "restart", name])));
        format!("{}+{}/{}", report.refused, report.cut + report.wrong, report.total())
    }

    /// Kills its main process again and again; what failed.
    pub(crate) fn kills(&self, program: Program) -> String {
        let report = self.under_load(program, |_, pid| drop(self.0.ok(&["kill", "-KILL", pid])));
        format!("{}+{}/{}", report.refused, report.cut + report.wrong, report.total())
    }

    /// The load from within the machine's network.
    fn under_load(&self, program: Program, act: impl Fn(&str, &str) + Sync) -> Report {
        let name = name(program);
        self.0.ok(&["systemctl", "restart", name]);
        let leader = std::fs::read_to_string(self.0.handle().join("leader")).expect("the testbed's note");
        let leader = leader.split(' ').next().expect("a number");
        let network = File::open(format!("/proc/{leader}/ns/net")).expect("the machine runs");
        let address = SocketAddr::from(([127, 0, 0, 1], port(program)));
        let load = || async {
            let load = Load::start(address, CLIENTS, &[Kind::Plain]);
            for _ in 0..TIMES {
                load.go_on(CLIENTS as u64).await;
                let before = self.main_process(name);
                tokio::task::block_in_place(|| act(name, &before));
                self.0.wait_for("another main process", PATIENCE, || {
                    let after = self.main_process(name);
                    (after != before && after != "0").then_some(())
                });
            }
            load.go_on(CLIENTS as u64).await;
            load.end().await
        };
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                // The runtime's threads are started by this one, and are where it is.
                setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter");
                crate::runtime().block_on(load())
            });
            client.join().expect("the load ends")
        })
    }

    /// The service's main process.
    fn main_process(&self, name: &str) -> String {
        self.0.ok(&["systemctl", "show", "--value", "--property=MainPID", name]).trim().to_owned()
    }
}

/// The service's name.
const fn name(program: Program) -> &'static str {
    match program {
        Program::Mcpeg => "mcpeg",
        Program::Nginx => "nginx",
        Program::Haproxy => "haproxy",
    }
}

/// Where it serves.
const fn port(program: Program) -> u16 {
    match program {
        Program::Mcpeg => 8081,
        Program::Nginx => 8082,
        Program::Haproxy => 8083,
    }
}

/// Name, unit and configuration of one of the others.
fn description(program: Program) -> (&'static str, String, String) {
    let (start, configuration) = if program == Program::Nginx {
        (
            "Type=forking\nPIDFile=/run/nginx.pid\nTimeoutStopSec=5\n\
             ExecStart=/host/sbin/nginx -c /etc/nginx.conf -g 'daemon on; master_process on;'\n\
             ExecStop=-/sbin/start-stop-daemon --quiet --stop --retry QUIT/5 --pidfile /run/nginx.pid\n",
            format!(
                "user root;\nworker_processes 1;\npid /run/nginx.pid;\nerror_log /tmp/error.log;\n\
                 events {{ worker_connections 1024; }}\nhttp {{ access_log off;\n\
                 client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;\n\
                 uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;\n\
                 server {{ listen 127.0.0.1:{}; location /health/live {{ return 200 \"live\"; }} }} }}\n",
                port(program)
            ),
        )
    } else {
        (
            "Type=notify\nSuccessExitStatus=143\nExecStart=/host/sbin/haproxy -Ws -f /etc/haproxy.conf -p /run/haproxy.pid\n",
            format!(
                "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
                 frontend f\n bind 127.0.0.1:{}\n http-request return status 200 content-type text/plain string live\n",
                port(program)
            ),
        )
    };
    let unit =
        format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\nKillMode=mixed\n{LIBRARIES}{AGAIN}{start}");
    (name(program), unit, configuration)
}
