//! Environment variables of flags: every flag has one, an empty one is unset, a flag wins, and an error names the variable.
//! It is applied to the commands of clap before they parse; it knows no command.

use std::ffi::OsString;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

/// Flags of which one excludes the other: the first variable counts, and a flag hides the variable of the other.
const EXCLUSIVE: [&str; 2] = ["token", "token_file"];

/// The command with the variables of all its flags, as far as these count for `arguments`.
pub(super) fn with_variables(command: Command, arguments: &[OsString]) -> Command {
    let excluded = excluded_variables(arguments);
    with_variables_but(command, &excluded)
}

fn with_variables_but(command: Command, excluded: &[&str]) -> Command {
    let command = command.mut_args(|arg| with_variable(arg, excluded));
    command.mut_subcommands(|subcommand| with_variables_but(subcommand, excluded))
}

fn with_variable(arg: Arg, excluded: &[&str]) -> Arg {
    let Some(name) = variable_of(&arg) else { return arg };
    let arg = match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version => return arg,
        _ => arg,
    };
    // Clap takes an empty value for a value.
    let is_hidden = match is_set(&name) {
        true => excluded.contains(&arg.get_id().as_str()),
        false => std::env::var_os(&name).is_some(),
    };
    // The name lives as long as the command, which lives as long as the process.
    if is_hidden { arg.env(Resettable::Reset) } else { arg.env(&*name.leak()) }
}

/// Whether the variable has a value that is not empty.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// The variable of a flag: its own, or by its name.
fn variable_of(arg: &Arg) -> Option<String> {
    let own = arg.get_env().map(|own| own.to_string_lossy().into_owned());
    arg.get_long().map(|long| own.unwrap_or_else(|| variable_named(long)))
}

/// `token-file` → `UCS_GATEWAY_TOKEN_FILE`.
fn variable_named(long: &str) -> String {
    format!("UCS_GATEWAY_{}", long.to_uppercase().replace('-', "_"))
}

fn excluded_variables(arguments: &[OsString]) -> Vec<&'static str> {
    let long = |id: &str| id.replace('_', "-");
    let given = EXCLUSIVE.iter().find(|id| is_given(arguments, &long(id)));
    let chosen = given.or_else(|| EXCLUSIVE.iter().find(|id| is_set(&variable_named(&long(id)))));
    EXCLUSIVE.into_iter().filter(|id| chosen.is_some_and(|chosen| chosen != id)).collect()
}

fn is_given(arguments: &[OsString], long: &str) -> bool {
    let flag = format!("--{long}");
    let is_flag = |argument: &OsString| {
        let text = argument.to_string_lossy();
        text == flag || text.strip_prefix(&flag).is_some_and(|rest| rest.starts_with('='))
    };
    arguments.iter().take_while(|argument| *argument != "--").any(is_flag)
}

/// An addition to an error: the variable that the rejected value comes from.
pub(super) fn origin_of(error: &clap::Error, command: &Command, arguments: &[OsString]) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let text = error.to_string();
    let names = |long: &str| {
        let flag = format!("--{long}");
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-');
        text.match_indices(&flag).any(|(at, _)| ends(&text[at + flag.len()..]))
    };
    let is_origin = |(long, variable): &(String, String)| is_set(variable) && names(long) && !is_given(arguments, long);
    let (_, variable) = flags(command).into_iter().find(is_origin)?;
    Some(format!("the value is that of the environment variable {variable}"))
}

/// The flags of a command and its subcommands, each with its variable.
fn flags(command: &Command) -> Vec<(String, String)> {
    let flag = |arg: &Arg| Some((arg.get_long()?.to_owned(), variable_of(arg)?));
    command.get_arguments().filter_map(flag).chain(command.get_subcommands().flat_map(flags)).collect()
}
