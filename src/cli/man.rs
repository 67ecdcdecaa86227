//! `man [DIR]`: manual pages, from the same definitions as `--help`. With a directory it writes one page for each command.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command};
use clap_mangen::Man;

use super::output::{FAILED, fail, print};

/// The arguments of `man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Directory for the pages of all commands; without it, the page of the program is printed
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Prints or writes the pages.
pub(crate) fn run(args: &ManArgs, command: Command) -> ExitCode {
    let command = with_environment(command);
    let done = match &args.dir {
        Some(dir) => write_all(dir, command).map(|()| ExitCode::SUCCESS),
        None => page(command).map(|page| print(&page, ExitCode::SUCCESS)),
    };
    done.unwrap_or_else(|error| fail(FAILED, format!("cannot write the manual pages: {error}")))
}

/// The variable of each flag as part of its help: the renderer does not show it.
fn with_environment(command: Command) -> Command {
    let command = command.mut_args(|arg| match (arg.get_env(), arg.get_help()) {
        (Some(variable), Some(help)) => {
            let help = format!("{help} [env: {}]", variable.to_string_lossy());
            arg.help(help)
        }
        _ => arg,
    });
    command.mut_subcommands(with_environment)
}

/// `ucs-gateway.1`, `ucs-gateway-mode.1`, `ucs-gateway-mode-set.1` …
fn write_all(dir: &Path, command: Command) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut command = command.disable_help_subcommand(true);
    // Gives each command the name of its page.
    command.build();
    write_page(dir, &command)
}

fn write_page(dir: &Path, command: &Command) -> io::Result<()> {
    let name = Man::new(command.clone()).get_filename();
    std::fs::write(dir.join(name), page(command.clone())?)?;
    command.get_subcommands().try_for_each(|subcommand| write_page(dir, subcommand))
}

fn page(command: Command) -> io::Result<String> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
