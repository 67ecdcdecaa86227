//! A drain on a terminal: a bar, the time that is left, and the operations that are still running, redrawn in place. It reads
//! drain events and knows no gateway.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::mode_text::{deadline_of, nothing_left, requests, word};
use super::times::Reader;

const BAR: usize = 24;

/// The most operations that are named.
const NAMED: usize = 5;

/// The width of a terminal that does not tell its own.
const USUAL_WIDTH: usize = 80;

/// The lines at the end of the terminal that belong to the drain.
pub(super) struct DrainScreen {
    /// The lines that are drawn; the cursor is in the last one.
    drawn: usize,
    /// The most requests that were waited for at once.
    most: u64,
}

impl DrainScreen {
    /// On a terminal that can move its cursor; the operator must be able to type as well.
    pub(super) fn of_terminal() -> Option<DrainScreen> {
        let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal() && !is_dumb;
        is_terminal.then_some(DrainScreen { drawn: 0, most: 0 })
    }

    /// Draws the newest state in place of the last one.
    pub(super) fn draw(&mut self, drain: &Value, reader: &Reader) {
        self.most = self.most.max(drain["waiting_for"].as_u64().unwrap_or(0));
        let lines = lines_of(drain, self.most, reader);
        self.replace(&lines);
    }

    /// Puts a question in place of the drain; the operator's answer is typed behind it.
    pub(super) fn ask(&mut self, question: &str) {
        self.replace(&[question.to_owned()]);
    }

    /// The operator's line break has moved the cursor down.
    pub(super) fn line_was_typed(&mut self) {
        self.drawn += 1;
    }

    /// Removes everything that was drawn.
    pub(super) fn clear(&mut self) {
        self.replace(&[]);
    }

    fn replace(&mut self, lines: &[String]) {
        let width = width();
        let mut text = String::from("\r");
        if self.drawn > 1 {
            text.push_str(&format!("\x1b[{}A", self.drawn - 1));
        }
        text.push_str("\x1b[J");
        // A line that wraps would take two lines of the terminal.
        let cut = lines.iter().map(|line| line.chars().take(width.saturating_sub(1)).collect::<String>());
        text.push_str(&cut.collect::<Vec<_>>().join("\n"));
        self.drawn = lines.len();
        let mut terminal = io::stderr().lock();
        drop(terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush()));
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}

fn lines_of(drain: &Value, most: u64, reader: &Reader) -> Vec<String> {
    let waiting = drain["waiting_for"].as_u64().unwrap_or(0);
    let done = most.saturating_sub(waiting);
    let filled = (BAR as u64 * done).checked_div(most).map_or(BAR, |cells| cells as usize);
    let bar = format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled));
    let state = match (waiting, most) {
        (0, _) => nothing_left(drain).to_owned(),
        (waiting, most) if waiting == most => format!("waiting for {}", requests(waiting)),
        (waiting, most) => format!("waiting for {} of {}", waiting, requests(most)),
    };
    let left = deadline_of(drain).and_then(|deadline| reader.seconds_until(deadline));
    let left = left.map(|left| format!(", {}:{:02} left", left / 60, left % 60)).unwrap_or_default();
    let mut lines = vec![format!("{} → {}  {bar} {state}{left}", word(&drain["from"]), word(&drain["mode"]))];
    let running = drain["running"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.extend(
        running
            .iter()
            .take(NAMED)
            .map(|one| format!("  {:>4} × {}", one["count"].to_string(), word(&one["operation"]))),
    );
    if running.len() > NAMED {
        lines.push(format!("       and {} more operations", running.len() - NAMED));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_drain_shows_what_runs_and_how_long_is_left() {
        let reader = Reader::at("2026-03-01T23:10:00+01:00[Europe/Berlin]");
        let running: Vec<_> = (0..7).map(|at| json!({"operation": format!("Query {at}"), "count": 7 - at})).collect();
        let drain = json!({"mode": "maintenance", "from": "production", "deadline": "2026-03-01T22:12:05Z",
            "drain_deadline": "2026-03-01T22:11:05Z", "waiting_for": 3, "running": running});
        let lines = lines_of(&drain, 4, &reader);
        let bar = "[######------------------]";
        assert_eq!(lines[0], format!("production → maintenance  {bar} waiting for 3 of 4 requests, 1:05 left"));
        assert_eq!((lines.len(), &*lines[1], &*lines[6]), (7, "     7 × Query 0", "       and 2 more operations"));
        let over = json!({"mode": "maintenance", "from": "production", "deadline": "2026-03-01T22:12:05Z",
            "drain_deadline": "2026-03-01T22:11:05Z", "waiting_for": 0});
        let bar = "#".repeat(BAR);
        let wanted =
            format!("production → maintenance  [{bar}] no request is left to wait for; setting UCS's mode, 2:05 left");
        assert_eq!(lines_of(&over, 4, &reader), [wanted]);
    }
}
