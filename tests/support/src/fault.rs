//! System calls of a running process that fail because strace(1) has the kernel refuse them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::program::command;

/// A tracer that makes calls fail until it is dropped.
pub struct Fault(Child);

impl Fault {
    /// Attaches to every thread of the process, and returns when these arguments of strace(1) are in force.
    pub fn attach(pid: i32, arguments: &[&str]) -> Self {
        let mut strace = command("strace");
        strace.arg("-f").args(arguments).args(["-p", &pid.to_string()]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tracer = strace.spawn().unwrap();
        let mut lines = BufReader::new(tracer.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("attached"), "{first}");
        // Otherwise it would stop when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self(tracer)
    }

    /// Makes a system call fail.
    pub fn inject(pid: i32, call: &str, error: &str) -> Self {
        Self::attach(pid, &["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error={error}")])
    }

    /// Makes system calls take this long at least, during which the tracer holds the caller.
    pub fn delay(pid: i32, calls: &str, time: Duration) -> Self {
        let inject = format!("inject={calls}:delay_enter={}", time.as_micros());
        Self::attach(pid, &["-e", &format!("trace={calls}"), "-e", &inject])
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // The kernel detaches whoever a killed tracer had: ptrace(2). It may have ended with them.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
