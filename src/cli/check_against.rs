//! `check --against`: the requests of an access log, or the operations of an OpenAPI document, that no route of a table takes.
//! It reads the file once, line by line where it is a log, and keeps counts only.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::logged_request::{request_of, shape_of};
use crate::files::{open, open_or_pipe};
use crate::policy::explain::explain;
use crate::policy::table::RouteTable;

/// The longest line that is read whole, in bytes.
const LONGEST_LINE: u64 = 64 * 1024;

/// The most kinds of unclassified requests that are told apart.
const MOST_KINDS: usize = 10_000;

/// The kinds that are printed as text.
const SHOWN: usize = 50;

/// The largest OpenAPI document.
const LARGEST_DOCUMENT: u64 = 64 * 1024 * 1024;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgainstError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is OpenAPI in YAML; convert it to JSON", .0.display())]
    Yaml(PathBuf),
    #[error(
        "{} contains no request: expected an access log with \"GET /path HTTP/1.1\" or JSON with method and path in its \
         lines, or an OpenAPI document",
        .0.display()
    )]
    NoRequest(PathBuf),
}

#[derive(Debug, Default)]
pub(super) struct Comparison {
    name: String,
    /// Requests of a log, or operations of a document.
    requests: u64,
    /// Lines that name no request, and the first of them.
    unread: (u64, Option<String>),
    unclassified: Vec<Kind>,
    /// Requests of further kinds.
    more: u64,
}

/// Unclassified requests that differ in ids alone.
#[derive(Debug)]
struct Kind {
    method: String,
    /// The path, its ids replaced.
    shape: String,
    count: u64,
    example: String,
    /// The gateway's response.
    handling: String,
}

/// Compares the requests of `path` with the table.
pub(super) fn compare(table: &RouteTable, path: &Path) -> Result<Comparison, AgainstError> {
    let failed = |source| AgainstError::Read { path: path.to_owned(), source };
    let mut counting = Counting::new(table);
    if path == Path::new("-") {
        counting.log(&mut io::stdin().lock()).map_err(failed)?;
    } else if path.metadata().is_ok_and(|there| !there.is_file()) {
        // A pipe cannot be read twice, so it is a log, as standard input is.
        counting.log(&mut BufReader::new(open_or_pipe(path).map_err(failed)?)).map_err(failed)?;
    } else if let Some(document) = open_api(path)? {
        counting.document(&document);
    } else {
        counting.log(&mut BufReader::new(open(path).map_err(failed)?)).map_err(failed)?;
    }
    let comparison = counting.ended(path);
    if comparison.requests == 0 { Err(AgainstError::NoRequest(path.to_owned())) } else { Ok(comparison) }
}

/// The document, if the file is one.
fn open_api(path: &Path) -> Result<Option<Value>, AgainstError> {
    let failed = |source| AgainstError::Read { path: path.to_owned(), source };
    let mut file = BufReader::new(open(path).map_err(failed)?);
    let begin = file.fill_buf().map_err(failed)?.trim_ascii_start();
    if begin.starts_with(b"openapi:") || begin.starts_with(b"swagger:") {
        return Err(AgainstError::Yaml(path.to_owned()));
    }
    if !begin.starts_with(b"{") {
        return Ok(None);
    }
    let document = serde_json::from_reader::<_, Value>(file.take(LARGEST_DOCUMENT)).ok();
    Ok(document.filter(|document| document["paths"].is_object()))
}

struct Counting<'t> {
    table: &'t RouteTable,
    result: Comparison,
    /// By method and shape, the place in the result.
    kinds: HashMap<(String, String), usize>,
}

impl Counting<'_> {
    fn new(table: &RouteTable) -> Counting<'_> {
        Counting { table, result: Comparison::default(), kinds: HashMap::new() }
    }

    fn log(&mut self, log: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if !line.ends_with(b"\n") {
                log.skip_until(b'\n')?;
            }
            let text = String::from_utf8_lossy(&line);
            match request_of(text.trim()) {
                Some((method, path)) => self.add(&method, &[path]),
                None if text.trim().is_empty() => {}
                None => {
                    self.result.unread.0 += 1;
                    self.result.unread.1.get_or_insert_with(|| text.trim().chars().take(120).collect());
                }
            }
        }
    }

    fn document(&mut self, document: &Value) {
        let server = document["servers"][0]["url"].as_str().or(document["basePath"].as_str()).unwrap_or_default();
        let base = match server.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None => server,
        };
        let base = base.trim_end_matches('/');
        for (template, operations) in document["paths"].as_object().into_iter().flatten() {
            let path: String = template.split('/').map(filled).collect::<Vec<_>>().join("/");
            // A document may leave the base path to its servers, and these to the installation.
            let paths = [format!("{base}{path}"), format!("{}{path}", self.table.base_path)];
            for method in METHODS.into_iter().filter(|method| operations[method].is_object()) {
                self.add(&method.to_ascii_uppercase(), &paths);
            }
        }
    }

    /// Counts a request, which may stand under several paths.
    fn add(&mut self, method: &str, paths: &[String]) {
        self.result.requests += 1;
        let mut explained = paths.iter().map(|path| explain(self.table, method, path));
        let Some(first) = explained.next() else { return };
        if first.route.is_some() || explained.any(|other| other.route.is_some()) {
            return;
        }
        let kind = (method.to_owned(), shape_of(&first.path));
        match self.kinds.get(&kind) {
            Some(place) => self.result.unclassified[*place].count += 1,
            None if self.kinds.len() == MOST_KINDS => self.result.more += 1,
            None => {
                self.kinds.insert(kind.clone(), self.result.unclassified.len());
                let handling = first.production;
                let status = handling.status.map(|status| format!(" with {status}")).unwrap_or_default();
                let handling = format!("{}{status}: {}", handling.verdict, handling.detail);
                let (method, shape) = kind;
                self.result.unclassified.push(Kind { method, shape, count: 1, example: first.path, handling });
            }
        }
    }

    fn ended(mut self, path: &Path) -> Comparison {
        self.result.name = path.display().to_string();
        self.result.unclassified.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.shape.cmp(&b.shape)));
        self.result
    }
}

/// A segment of a template with a value for each parameter.
fn filled(segment: &str) -> String {
    let mut text = String::new();
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        text += before;
        text += "1";
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    text + rest
}

impl Comparison {
    pub(super) fn finds_any(&self) -> bool {
        !self.unclassified.is_empty()
    }

    pub(super) fn in_words(&self) -> String {
        let Comparison { name, requests, unread, unclassified, more } = self;
        let count: u64 = unclassified.iter().map(|kind| kind.count).sum::<u64>() + more;
        let mut text = match count {
            0 => format!("{name}: a route takes each of {requests} requests\n"),
            _ => format!("{name}: no route takes {count} of {requests} requests\n"),
        };
        for Kind { method, shape, count, example, handling } in unclassified.iter().take(SHOWN) {
            let _ = writeln!(text, "  {count:6}  {method} {shape}\n          for example {example}: {handling}");
        }
        if unclassified.len() > SHOWN {
            let _ = writeln!(text, "  and {} more kinds: --json lists them", unclassified.len() - SHOWN);
        }
        if let (lines @ 1.., Some(example)) = unread {
            let _ = writeln!(text, "  {lines} lines name no request, for example: {example:?}");
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let Comparison { name, requests, unread, unclassified, more } = self;
        let kinds = unclassified.iter().map(|Kind { method, shape, count, example, handling }| {
            json!({"method": method, "shape": shape, "count": count, "example": example, "handling": handling})
        });
        let kinds: Vec<Value> = kinds.collect();
        let unread = json!({"lines": unread.0, "example": unread.1});
        json!({"file": name, "requests": requests, "unread": unread, "unclassified": kinds, "further": more})
    }
}
