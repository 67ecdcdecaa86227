//! `check [FILE]`: every fault of a route table, the routes that deserve a second look, with `--against` the requests that it
//! does not classify, and with `--upstream` whether a UCS fits. It changes nothing.

use std::fmt::Write;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::check_against::{self, Comparison};
use super::check_upstream::{self, Finding, Grade, UpstreamCheckArgs};
use super::output::{FAILED, MISCONFIGURED, fail, print, runtime};
use super::remarks::{Remark, RemarkGrade, Source};
use crate::policy::analysis::{self, CutShort, Doubt, Findings, Overlap};
use crate::policy::explain::modes_in_words;
use crate::policy::table::{Route, RouteTable};
use crate::route_file;
use crate::transport::UpstreamUrl;

const NOT_PROVEN: &str =
    "not proven: there may be routes that can never match, and more overlaps, as the search was cut short";

/// The arguments of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Route table
    #[arg(value_name = "FILE", default_value = "routes.yaml")]
    pub(crate) file: PathBuf,
    /// List the requests of an access log, or the operations of an OpenAPI document (JSON), that no route takes; - reads a
    /// log from standard input
    #[arg(long, env = "UCS_GATEWAY_CHECK_AGAINST", value_name = "LOG|OPENAPI")]
    pub(crate) against: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "UCS_GATEWAY_CHECK_JSON")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) upstream: UpstreamCheckArgs,
}

/// Exit code 2 if the table has faults; 1 if it may have some, if requests are unclassified, or if UCS does not fit.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let text = match route_file::read_or_pipe(&args.file) {
        Ok(text) => text,
        Err(error) => return fail(MISCONFIGURED, error),
    };
    let name = args.file.display().to_string();
    match route_file::compile(&args.file, &text) {
        Err(faults) => {
            let faults: Vec<Remark> = faults.iter().map(Remark::from).collect();
            if args.json {
                let document = json!({"file": name, "faults": as_json(&faults)});
                return print(&format!("{document:#}\n"), ExitCode::from(MISCONFIGURED));
            }
            tell_faults(&Source::new(&name, &text, is_styled(&io::stderr())), &name, &faults)
        }
        Ok(table) => match checked(args, table) {
            Ok(checked) if args.json => print(&format!("{:#}\n", checked.json(&name)), checked.code()),
            Ok(checked) => checked.tell(&Source::new(&name, &text, is_styled(&io::stdout())), &name),
            Err((code, why)) => fail(code, why),
        },
    }
}

fn is_styled(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn as_json(remarks: &[Remark]) -> Vec<Value> {
    remarks.iter().map(Remark::json).collect()
}

fn tell_faults(source: &Source<'_>, name: &str, faults: &[Remark]) -> ExitCode {
    let mut text: String = faults.iter().map(|fault| source.show(fault) + "\n").collect();
    let count = if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) };
    let _ = writeln!(text, "ucs-gateway: {name} has {count} and is not used");
    drop(io::stderr().lock().write_all(text.as_bytes()));
    ExitCode::from(MISCONFIGURED)
}

/// The findings about a table without faults.
struct Checked {
    table: RouteTable,
    warnings: Vec<Remark>,
    overlaps: Vec<Remark>,
    cut_short: Option<CutShort>,
    against: Option<Comparison>,
    upstream: Option<(String, Vec<Finding>)>,
}

fn checked(args: &CheckArgs, table: RouteTable) -> Result<Checked, (u8, String)> {
    let Findings { list: overlaps, cut_short } = analysis::overlaps(&table);
    let warnings = analysis::warnings(&table);
    let against = args.against.as_deref().map(|file| check_against::compare(&table, file)).transpose();
    let upstream = args.upstream.upstream.as_ref().map(|url| ask_upstream(url, args, &table)).transpose()?;
    Ok(Checked {
        warnings: warnings.iter().map(|found| warning(&table.routes[found.route as usize], found.doubt)).collect(),
        overlaps: overlaps.iter().map(|found| overlap(&table, found)).collect(),
        cut_short,
        against: against.map_err(|error| (MISCONFIGURED, error.to_string()))?,
        upstream,
        table,
    })
}

fn ask_upstream(
    url: &UpstreamUrl,
    args: &CheckArgs,
    table: &RouteTable,
) -> Result<(String, Vec<Finding>), (u8, String)> {
    let runtime = runtime().map_err(|error| (FAILED, error.to_string()))?;
    let findings = runtime.block_on(check_upstream::findings(url, &args.upstream, table));
    Ok((url.authority.to_string(), findings.map_err(|error| (MISCONFIGURED, error.to_string()))?))
}

fn warning(route: &Route, doubt: Doubt) -> Remark {
    let (method, path) = (route.method.as_str(), route.pattern.as_str());
    let (message, help) = match doubt {
        Doubt::ReadInMaintenanceOnly => (
            format!("{method} {path} reads, but is open in maintenance only, as the writes of its class are"),
            "a read usually has modes: [maintenance, production]",
        ),
        Doubt::WriteInBothModes => (
            format!("{method} {path} may change something, and is open in both modes: no change of the mode stops it"),
            "name the one mode that admits it with modes:, unless it only reads",
        ),
    };
    Remark {
        grade: RemarkGrade::Warning,
        message,
        line: route.line,
        column: None,
        offending: String::new(),
        help: Some(help.to_owned()),
        example: None,
        also: Vec::new(),
    }
}

fn overlap(table: &RouteTable, overlap: &Overlap) -> Remark {
    let (first, second) = (&table.routes[overlap.first as usize], &table.routes[overlap.second as usize]);
    let (class, modes) = (&table.classes[first.class].name, modes_in_words(first.modes));
    Remark {
        grade: RemarkGrade::Note,
        message: format!(
            "\"{}\" takes some requests of \"{}\", as it is listed earlier",
            first.operation, second.operation
        ),
        line: second.line,
        column: None,
        offending: String::new(),
        help: None,
        example: Some(format!("{} {}", overlap.method, overlap.example_path)),
        also: vec![(first.line, format!("takes them as class {class}, open in {modes}"))],
    }
}

impl Checked {
    fn code(&self) -> ExitCode {
        let unfit =
            self.upstream.iter().flat_map(|(_, findings)| findings).any(|finding| finding.grade == Grade::Fault);
        let unclassified = self.against.as_ref().is_some_and(Comparison::finds_any);
        let failed = self.cut_short.is_some() || unfit || unclassified;
        if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
    }

    fn tell(&self, source: &Source<'_>, name: &str) -> ExitCode {
        let verdict = if self.cut_short.is_none() { "no faults" } else { "no fault found" };
        let mut text = format!("{name}: {} routes, {verdict}\n", self.table.routes.len());
        for (class, routes) in self.classes() {
            let _ = writeln!(text, "  {routes:4} {class}");
        }
        for remark in self.overlaps.iter().chain(&self.warnings) {
            text += &format!("\n{}", source.show(remark));
        }
        if let Some(comparison) = &self.against {
            text += &format!("\n{}", comparison.in_words());
        }
        if let Some((authority, findings)) = &self.upstream {
            let lines: String = findings.iter().map(Finding::line).collect();
            text += &format!("\nUCS at {authority} with this table:\n{lines}");
        }
        let printed = print(&text, self.code());
        match self.cut_short {
            Some(why) => fail(FAILED, format!("{NOT_PROVEN}: {why}")),
            None => printed,
        }
    }

    fn json(&self, name: &str) -> Value {
        let classes = self.classes().into_iter().map(|(class, routes)| (class.to_owned(), json!(routes)));
        let upstream = self.upstream.as_ref().map(|(authority, findings)| {
            json!({"authority": authority, "findings": findings.iter().map(Finding::json).collect::<Vec<_>>()})
        });
        json!({
            "file": name,
            "routes": self.table.routes.len(),
            "classes": classes.collect::<serde_json::Map<_, _>>(),
            "faults": [],
            "warnings": as_json(&self.warnings),
            "overlaps": as_json(&self.overlaps),
            "not_proven": self.cut_short.map(|why| why.to_string()),
            "against": self.against.as_ref().map(Comparison::json),
            "upstream": upstream,
        })
    }

    /// Each class with the number of its routes.
    fn classes(&self) -> Vec<(&str, usize)> {
        let routes = |index| self.table.routes.iter().filter(|route| route.class == index).count();
        self.table.classes.iter().enumerate().map(|(index, class)| (&*class.name, routes(index))).collect()
    }
}
