//! Remarks about places in a file, as `check` prints them: with the lines of the file, as rustc does, or as JSON. It finds
//! none.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use crate::policy::routes_yaml::Diagnostic;

#[derive(Clone, Debug)]
pub(super) struct Remark {
    pub(super) grade: RemarkGrade,
    pub(super) message: String,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters; `None` for the whole line.
    pub(super) column: Option<usize>,
    /// The text that it is about, if it stands there.
    pub(super) offending: String,
    /// The correction.
    pub(super) help: Option<String>,
    /// A request that shows it.
    pub(super) example: Option<String>,
    /// Other lines that it is about, and their part in it.
    pub(super) also: Vec<(usize, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemarkGrade {
    Fault,
    Warning,
    Note,
}

impl From<&Diagnostic> for Remark {
    fn from(fault: &Diagnostic) -> Remark {
        Remark {
            grade: RemarkGrade::Fault,
            message: fault.issue.message.clone(),
            line: fault.line,
            column: Some(fault.column),
            offending: fault.issue.offending.clone(),
            help: Some(fault.issue.instead.clone()).filter(|help| !help.is_empty()),
            example: None,
            also: fault.also.clone(),
        }
    }
}

impl Remark {
    pub(super) fn json(&self) -> Value {
        let also = self.also.iter().map(|(line, label)| json!({"line": line, "label": label}));
        json!({
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "help": self.help,
            "example": self.example,
            "also": also.collect::<Vec<_>>(),
        })
    }
}

/// A file, to show its lines.
pub(super) struct Source<'t> {
    name: &'t str,
    text: &'t str,
    /// Where each line begins.
    starts: Vec<usize>,
    renderer: Renderer,
}

impl<'t> Source<'t> {
    /// `styled` adds colours.
    pub(super) fn new(name: &'t str, text: &'t str, styled: bool) -> Source<'t> {
        // Places do not count the mark that some editors write.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        Source { name, text, starts, renderer }
    }

    /// The remark with the lines that it is about.
    pub(super) fn show(&self, remark: &Remark) -> String {
        let lines = || remark.also.iter().map(|(line, _)| *line).chain([remark.line]);
        let (first, last) = (lines().min().unwrap_or(1), lines().max().unwrap_or(1));
        let (begin, end) = (self.range_of(first).start, self.range_of(last).end);
        let moved = |range: Range<usize>| range.start - begin..range.end - begin;
        let primary = AnnotationKind::Primary.span(moved(self.range(remark)));
        let also =
            remark.also.iter().map(|(line, label)| AnnotationKind::Context.span(moved(self.inner(*line))).label(label));
        let snippet = Snippet::source(&self.text[begin..end]).line_start(first).path(self.name);
        let level = match remark.grade {
            RemarkGrade::Fault => Level::ERROR,
            RemarkGrade::Warning => Level::WARNING,
            RemarkGrade::Note => Level::NOTE,
        };
        let mut group: Group<'_> =
            level.primary_title(&remark.message).element(snippet.annotation(primary).annotations(also));
        if let Some(example) = &remark.example {
            group = group.element(Level::NOTE.message(format!("for example {example}")));
        }
        if let Some(help) = &remark.help {
            group = group.element(Level::HELP.message(help));
        }
        self.renderer.render(&[group]) + "\n"
    }

    /// The text that a remark is about, or else the rest of its line.
    fn range(&self, remark: &Remark) -> Range<usize> {
        let Some(column) = remark.column else { return self.inner(remark.line) };
        let line = self.range_of(remark.line);
        let text = &self.text[line.clone()];
        let at = text.char_indices().nth(column - 1).map_or(text.len(), |(at, _)| at);
        let rest = &text[at..];
        let quote = usize::from(rest.starts_with(['"', '\'']));
        let is_there = !remark.offending.is_empty() && rest[quote..].starts_with(&remark.offending);
        let length = if is_there { remark.offending.len() + 2 * quote } else { rest.trim_end().len() };
        line.start + at..line.start + at + length.min(rest.len())
    }

    /// A line without the white space around it.
    fn inner(&self, line: usize) -> Range<usize> {
        let whole = self.range_of(line);
        let text = &self.text[whole.clone()];
        let begin = whole.start + text.len() - text.trim_start().len();
        begin..begin + text.trim().len()
    }

    /// A line without its end; the last one for a line beyond it.
    fn range_of(&self, line: usize) -> Range<usize> {
        let index = line.clamp(1, self.starts.len()) - 1;
        let end = self.starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
        self.starts[index]..end
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn remark(line: usize, column: usize, offending: &str) -> Remark {
        Remark {
            grade: RemarkGrade::Fault,
            message: "wrong".to_owned(),
            line,
            column: Some(column),
            offending: offending.to_owned(),
            help: Some("write something else".to_owned()),
            example: None,
            also: Vec::new(),
        }
    }

    #[test]
    fn a_place_is_underlined_whatever_stands_there() {
        let text = "a: x\r\nü: \"some\" # why\n";
        let source = Source::new("f", text, false);
        for (line, column, offending, marked) in [
            (1, 4, "x", "x"),
            (2, 4, "some", "\"some\""),
            (2, 4, "other", "\"some\" # why"),
            (2, 99, "some", ""),
            (9, 1, "", ""),
        ] {
            let remark = remark(line, column, offending);
            assert_eq!(&source.text[source.range(&remark)], marked, "{line}:{column}");
            assert!(source.show(&remark).contains("write something else"));
        }
        let shown = Source::new("f", "\u{feff}a: x", false).show(&remark(1, 4, "x"));
        assert!(shown.contains("f:1:4\n") && shown.contains("1 | a: x\n  |    ^\n"), "{shown}");
    }

    #[test]
    fn an_empty_file_and_control_characters_are_shown_without_harm() {
        assert!(Source::new("f", "", false).show(&remark(1, 1, "")).contains("f:1:1"));
        let shown = Source::new("f", "a: \u{1b}[2J\n", false).show(&remark(1, 4, ""));
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}
