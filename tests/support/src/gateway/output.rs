//! What a process prints, line by line, while it runs.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;

/// Everything that a process has printed up to now.
#[derive(Clone, Default)]
pub(super) struct Printed(Arc<Mutex<String>>);

impl Printed {
    /// Follows both outputs of a process; the lines come too, as long as somebody takes them.
    pub(super) fn follow(child: &mut Child) -> (Self, mpsc::UnboundedReceiver<String>) {
        let printed = Self::default();
        let (sender, lines) = mpsc::unbounded_channel();
        printed.read(child.stdout.take().expect("piped"), sender.clone());
        printed.read(child.stderr.take().expect("piped"), sender);
        (printed, lines)
    }

    /// Passes on each line, and keeps all of them for failure messages.
    fn read(&self, output: impl AsyncRead + Unpin + Send + 'static, sender: mpsc::UnboundedSender<String>) {
        let printed = self.clone();
        let mut lines = BufReader::new(output).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = writeln!(printed.0.lock().expect("no panic while locked"), "{line}");
                // Nobody listens any more once the address is known.
                let _ = sender.send(line);
            }
        });
    }

    /// A copy of it.
    pub(super) fn text(&self) -> String {
        self.0.lock().expect("no panic while locked").clone()
    }
}
