//! A real terminal (tmux) in which a command runs: what stands on its screen, and keys that a person presses.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::{TempDir, eventually};

/// A terminal of 100 columns and 24 lines. It is closed when dropped.
pub struct Terminal {
    socket: PathBuf,
    _dir: TempDir,
}

impl Terminal {
    /// Runs the gateway's command in a terminal of its own; `None`, with a word about it, without tmux.
    pub fn start(arguments: &[&str]) -> Option<Terminal> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "tmux is needed");
            eprintln!("skipped, as it needs tmux");
            return None;
        }
        let dir = TempDir::new();
        let terminal = Terminal { socket: dir.path().join("tmux"), _dir: dir };
        // The shell outlives Ctrl-C, shows the exit code, and keeps the last screen.
        let script = "trap : INT; \"$0\" \"$@\"; echo \"ended with $?\"; exec cat";
        let run = ["new-session", "-d", "-x", "100", "-y", "24", "--", "sh", "-c", script];
        let gateway = [env!("CARGO_BIN_EXE_ucs-gateway")];
        let started = terminal.tmux(&[&["-f", "/dev/null"], &run[..], &gateway, arguments].concat());
        assert!(started.status.success(), "{started:?}");
        Some(terminal)
    }

    /// What stands on the screen.
    pub fn screen(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p"]);
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Waits until the screen shows a text; the screen then.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        let mut screen = String::new();
        eventually(&format!("the terminal shows {text:?}"), || {
            screen = self.screen();
            screen.contains(text)
        });
        screen
    }

    /// Presses keys, by their names in tmux: `C-c`, `Enter`, `r`.
    pub fn press(&self, keys: &[&str]) {
        assert!(self.tmux(&[&["send-keys"], keys].concat()).status.success());
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UCS_GATEWAY_") || name == "TMUX" {
                command.env_remove(name);
            }
        }
        let socket = self.socket.to_str().unwrap();
        command.env("LC_ALL", "C.UTF-8").args(["-u", "-S", socket]).args(arguments).output().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
